"""What exists for a requester: rows of the environments that it may see, and no others."""

from collections.abc import Collection
from typing import TypeAlias

from django.db.models import Q

# None where all exist, as for people; some API tokens are narrowed.
Environments: TypeAlias = Collection[str] | None


# What was done to people, their roles and their tokens is told to administrators alone, and so is what was done to
# anything of an app that is not named here.
_OPEN_APPS = ("agents", "tasks_app", "notifications")


def told_to(*, administrator: bool) -> Q:
    """Matches the events that somebody may read."""
    if administrator:
        return Q()
    told = Q(subject="")
    for app in _OPEN_APPS:
        told |= Q(subject__startswith=f"{app}.")
    return told


def within(environments: Environments, path: str) -> Q:
    """Matches what is of these environments; `path` leads to the name of the environment."""
    return Q() if environments is None else Q(**{f"{path}__in": sorted(environments)})
