"""Instances that may be gone or there twice, each with why and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext_noop

from agents.models import HostAddress, Instance
from agents.models.instance import Connectivity, Dialect
from agents.selectors.instances import kept
from agents.selectors.inventory import Scope

# One agent per host, and many processes on one.
HOST_DIALECTS: Final = (Dialect.ARGUS, Dialect.JKSTACK)
PROCESS_DIALECTS: Final = (Dialect.ONESTEP, Dialect.ARCADE)
STALE_MAX: Final = 200
DUPLICATES_MAX: Final = 100
# Of one group.
MEMBERS_MAX: Final = 20

WHY: Final[Mapping[str, str]] = {
    "stale_offline": gettext_noop("Offline longer than the portal waits for anybody."),
    "stale_never_reported": gettext_noop("Known for so long, and never reported."),
    "same_hostname": gettext_noop("Two agents of one kind on a host of the same name."),
    "same_mac": gettext_noop("Two agents of one kind with the same network address (MAC)."),
    "same_process": gettext_noop("The same service, node and host under several ids, and not all of them are there."),
}
WHAT_TO_DO: Final[Mapping[str, str]] = {
    "stale_offline": gettext_noop("Archive it; it comes back by itself if it ever reports again."),
    "stale_never_reported": gettext_noop("Check the address and the token of its agent, or archive it."),
    "same_hostname": gettext_noop("Archive those that are offline; where both are there, give each host its own name."),
    "same_mac": gettext_noop("The host was set up anew or cloned: archive the id that is offline."),
    "same_process": gettext_noop("Its agent lost its id and got a new one: keep its state directory, archive the old."),
}


@dataclass(frozen=True, slots=True)
class StaleInstance:
    instance: Instance
    why: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Instances that may be one. `shared` is what they have in common; `count` is of all, `instances` are the first."""

    why: str
    shared: str
    count: int
    instances: list[Instance]


def stale(scope: Scope, *, now: datetime) -> tuple[int, list[StaleInstance]]:
    """How many were not heard of for STALE_AFTER_DAYS, and the first STALE_MAX, the longest silent first.

    One statement; a second where there are more than that.
    """
    rows = stale_instances(scope, now=now)
    ordered = rows.select_related("service").order_by(F("last_seen_at").asc(nulls_first=True), "created_at", "pk")
    found = list(ordered[: STALE_MAX + 1])
    return rows.count() if len(found) > STALE_MAX else len(found), [
        StaleInstance(row, "stale_offline" if row.last_seen_at else "stale_never_reported") for row in found[:STALE_MAX]
    ]


def stale_instances(scope: Scope, *, now: datetime) -> QuerySet[Instance]:
    """All of them, in no order."""
    cutoff = now - timedelta(days=settings.STALE_AFTER_DAYS)
    return (
        scope.instances()
        .exclude(connectivity=Connectivity.ONLINE)
        .filter(Q(last_seen_at__lt=cutoff) | Q(last_seen_at=None, created_at__lt=cutoff))
    )


def duplicates(scope: Scope) -> tuple[int, list[Duplicate]]:
    """How many groups of instances may be one each, and the first DUPLICATES_MAX of each sort, the largest first.

    Six statements; one more for each sort of which there are more.
    """
    found = [_same_hostname(scope), _same_mac(scope), _same_process(scope)]
    return sum(count for count, _groups in found), [each for _count, groups in found for each in groups]


def _same_hostname(scope: Scope) -> tuple[int, list[Duplicate]]:
    named = scope.instances().filter(dialect__in=HOST_DIALECTS).exclude(hostname="")
    grouped = named.values("dialect", "hostname").annotate(count=Count("pk")).filter(count__gt=1)
    return _groups("same_hostname", grouped, ("dialect", "hostname"), named, shared=("hostname",))


def _same_mac(scope: Scope) -> tuple[int, list[Duplicate]]:
    addresses = HostAddress.objects.filter(
        instance__in=scope.instances().filter(dialect__in=HOST_DIALECTS).values("pk")
    ).order_by()
    grouped = addresses.values("instance__dialect", "mac").annotate(count=Count("instance")).filter(count__gt=1)
    total, found = _counted(grouped, grouped.order_by("-count", "mac"))
    members: dict[tuple[str, str], list[Instance]] = {}
    shared = addresses.filter(mac__in=[row["mac"] for row in found])
    rows = _first_of(shared, ("instance__dialect", "mac"), "instance_id").select_related("instance__service")
    for address in rows.order_by("mac", "instance_id") if found else ():
        members.setdefault((address.instance.dialect, address.mac), []).append(address.instance)
    return total, [
        # Without any where its addresses changed between the two statements.
        Duplicate("same_mac", row["mac"], row["count"], members.get((row["instance__dialect"], row["mac"]), []))
        for row in found
    ]


def _same_process(scope: Scope) -> tuple[int, list[Duplicate]]:
    keys = ("service_id", "node_name", "hostname")
    named = scope.instances().filter(dialect__in=PROCESS_DIALECTS).exclude(hostname="").exclude(node_name="")
    # Names that somebody has who is not online: one in ten, where all would have to be grouped.
    away = kept().exclude(connectivity=Connectivity.ONLINE).order_by().values("node_name")
    grouped = (
        named.filter(node_name__in=away)
        .values(*keys)
        .annotate(count=Count("pk"), online=Count("pk", filter=Q(connectivity=Connectivity.ONLINE)))
        .filter(count__gt=1, online__lt=F("count"))
    )
    return _groups("same_process", grouped, keys, named, shared=("node_name", "hostname"))


def _groups(
    why: str, grouped: Any, keys: Sequence[str], named: QuerySet[Instance], *, shared: Sequence[str]
) -> tuple[int, list[Duplicate]]:
    """How many groups, and the largest with their members."""
    total, found = _counted(grouped, grouped.order_by("-count", *keys))
    if not found:
        return 0, []
    hostnames = {row["hostname"] for row in found}
    members: dict[tuple[object, ...], list[Instance]] = {}
    newest_first = (F("last_seen_at").desc(nulls_last=True), "pk")
    rows = _first_of(named.filter(hostname__in=hostnames), keys, *newest_first).select_related("service")
    for row in rows.order_by(*newest_first):
        members.setdefault(tuple(getattr(row, key) for key in keys), []).append(row)
    return total, [
        Duplicate(
            why,
            " · ".join(dict.fromkeys(str(row[name]) for name in shared)),
            row["count"],
            members.get(tuple(row[key] for key in keys), []),
        )
        for row in found
    ]


def _first_of(rows: Any, keys: Sequence[str], *ordering: Any) -> Any:
    """The first MEMBERS_MAX of these rows that have the same keys: a group may be a whole fleet of clones."""
    place = Window(RowNumber(), partition_by=[F(key) for key in keys], order_by=ordering)
    first = rows.order_by().annotate(place=place).filter(place__lte=MEMBERS_MAX)
    return rows.model.objects.filter(pk__in=first.values("pk"))


def _counted(grouped: Any, ordered: Any) -> tuple[int, list[Any]]:
    """How many groups there are, and the first DUPLICATES_MAX; one statement where there are no more."""
    found = list(ordered[: DUPLICATES_MAX + 1])
    return grouped.count() if len(found) > DUPLICATES_MAX else len(found), found[:DUPLICATES_MAX]
