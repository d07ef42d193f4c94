"""What of the fleet has a given text in its name or id: the command palette asks it with every key.

Names that begin with the text come first, by an index; where they are too few, one pass over the short columns of the
table finds the rest, some 50 ms over 50,000 instances. Ids are found by how they begin, since they have an index.
"""

from typing import Any, Final, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from agents.models import Command, FanOut, Group, Instance, Node, Service

# Of commands of one kind, only among so many of the newest: there is no index by kind.
NEWEST_COMMANDS: Final = 500
ID_MIN_DIGITS: Final = 6
_LAST_CHARACTER: Final = "\U0010ffff"
_ModelT = TypeVar("_ModelT", bound=Model)


def contains(text: str, *columns: str) -> Q:
    """Rows with the text in one of the columns, as typed or in small letters: `ILIKE` takes three times as long."""
    found = Q()
    for column in columns:
        for spelling in {text, text.lower()}:
            found |= Q(**{f"{column}__contains": spelling})
    return found


def first_by_name(rows: QuerySet[_ModelT], column: str, text: str, limit: int, *others: str) -> list[_ModelT]:
    """Rows whose name begins with the text, then those that have it anywhere, `limit` at most. Two queries at most."""
    starting = Q(**{f"{column}__gte": text, f"{column}__lt": text + _LAST_CHARACTER, f"{column}__startswith": text})
    found = list(rows.filter(starting).order_by(column, "pk")[:limit])
    if len(found) < limit:
        known = {row.pk for row in found}
        more = rows.filter(contains(text, column, *others)).order_by()[: limit + len(known)]
        found += [row for row in more if row.pk not in known]
    return found[:limit]


def by_id(rows: QuerySet[_ModelT], text: str, prefix: str, limit: int) -> list[_ModelT]:
    """Rows whose UUID begins with the text, with or without the prefix that it has on the wire."""
    digits = text.lower().removeprefix(prefix).replace("-", "")
    if not ID_MIN_DIGITS <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return []
    least, most = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    return list(rows.filter(pk__gte=least, pk__lte=most).order_by("pk")[:limit])


def services(text: str, limit: int) -> list[Service]:
    return first_by_name(Service.objects.filter(archived_at=None), "name", text, limit)


def instances(text: str, limit: int) -> list[Instance]:
    """Instances of any dialect but the registry's nodes; with their service."""
    rows = (
        Instance.objects.filter(node=None)
        .select_related("service")
        .only("id", "dialect", "external_id", "node_name", "connectivity", "service__name", "service__environment")
    )
    found = by_id(rows, text, "", limit)
    return found or first_by_name(rows, "node_name", text, limit, "external_id", "hostname")


def nodes(text: str, limit: int) -> list[Node]:
    rows = Node.objects.select_related("instance").only("name", "type", "number", "instance__connectivity")
    return first_by_name(rows, "name", text, limit, "instance__external_id")


def groups(text: str, limit: int) -> list[Group]:
    return first_by_name(Group.objects.all(), "name", text, limit)


def _commands() -> QuerySet[Command]:
    return Command.objects.select_related("instance").only(
        "id", "kind", "task_name", "status", "created_at", "instance__node_name", "instance__external_id"
    )


def commands(text: str, limit: int) -> list[Command]:
    return by_id(_commands(), text, "cmd_", limit)


def commands_of_kinds(kinds: list[str], limit: int) -> list[Command]:
    """The newest commands of these kinds, as far as they are among the newest of all."""
    newest: list[Any] = list(Command.objects.order_by("-created_at", "-id").values_list("pk", "kind")[:NEWEST_COMMANDS])
    wanted = [pk for pk, kind in newest if kind in kinds][:limit]
    return list(_commands().filter(pk__in=wanted).order_by("-created_at", "-id")) if wanted else []


def fan_outs(text: str, limit: int) -> list[FanOut]:
    return by_id(FanOut.objects.all(), text, "fan_", limit) if text.startswith("fan_") else []
