"""Commands, newest first."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import QuerySet

from agents.models import Command, Service
from agents.selectors.visibility import Environments, within
from controlplane.common.errors import NotFound


def commands(
    *,
    service: Service | None = None,
    instance_id: UUID | None = None,
    kind: str | None = None,
    status: str | None = None,
    environments: Environments = None,
) -> QuerySet[Command]:
    """Commands with their instance and its service; whatever is None does not narrow."""
    wanted = {
        "service": service,
        "instance": instance_id,
        "kind": kind,
        "status": status,
    }
    rows = Command.objects.select_related("instance__service").order_by("-created_at", "-id")
    return rows.filter(
        within(environments, "service__environment"),
        **{name: value for name, value in wanted.items() if value is not None},
    )


def get_command(command_id: UUID, *, environments: Environments = None, without: Collection[str] = ()) -> Command:
    """The command with its instance and service, or NotFound; columns in `without` are not read."""
    command = commands(environments=environments).filter(pk=command_id).defer(*without).first()
    if command is None:
        raise NotFound(f"command cmd_{command_id.hex} was not found", code="command_not_found")
    return command
