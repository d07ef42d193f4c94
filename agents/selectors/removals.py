"""Removals: what was asked to be forgotten, and how far that is."""

from uuid import UUID

from django.db.models import QuerySet

from agents.models import Removal
from agents.selectors.visibility import Environments, within
from controlplane.common.errors import NotFound


def removals(*, environments: Environments = None) -> QuerySet[Removal]:
    return Removal.objects.filter(within(environments, "environment"))


def get_removal(removal_id: UUID, *, environments: Environments = None) -> Removal:
    removal = removals(environments=environments).filter(pk=removal_id).first()
    if removal is None:
        raise NotFound(f"removal {removal_id} was not found", code="removal_not_found")
    return removal


def open_removal(target_id: object) -> Removal | None:
    """The one that goes on for this instance or service."""
    return Removal.objects.filter(target_id=str(target_id), finished_at=None).first()
