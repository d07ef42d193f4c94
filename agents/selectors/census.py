"""The whole fleet in one pass over its instances: figures, and what is wrong by service."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q

from agents.models import Service
from agents.models.instance import Connectivity, Health
from agents.selectors.instances import kept
from agents.selectors.presence import CONFLICT_SHOWN_FOR

UNWELL = (Health.DEGRADED.value, Health.ERROR.value)


@dataclass(frozen=True, slots=True)
class Figures:
    """How many instances of one dialect and environment there are, in which state, and of how many services."""

    dialect: str
    environment: str
    services: int
    instances: int
    online: int
    offline: int
    never_reported: int


@dataclass(slots=True)
class Group:
    """Instances of one service that are wrong in the same way: `count` of `among`, the first and last since when."""

    service_id: int
    name: str
    environment: str
    count: int
    among: int
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """`offline`, `unwell` and `drifted` are by service, the most first; `conflicts` are counted in all.

    `conflict_at` is when one of those was seen last.
    """

    services: int
    figures: list[Figures]
    offline: list[Group]
    unwell: list[Group]
    drifted: list[Group]
    conflicts: int
    conflict_at: datetime | None = None

    @property
    def instances(self) -> int:
        return sum(row.instances for row in self.figures)

    def total(self, name: str) -> int:
        return sum(getattr(row, name) for row in self.figures)


def offline_lately(now: datetime) -> Q:
    """Matches instances that went offline within the participation window; later they are retired, not in trouble.

    Of one that registered and never reported, that is when it was called offline.
    """
    start = now - timedelta(seconds=settings.INSTANCE_HEALTH_PARTICIPATION_WINDOW_S)
    return Q(connectivity=Connectivity.OFFLINE) & (
        Q(last_seen_at__gte=start) | Q(last_seen_at=None, connectivity_changed_at__gte=start)
    )


def in_conflict(now: datetime) -> Q:
    return Q(conflict_seen_at__gte=now - CONFLICT_SHOWN_FOR)


def unwell() -> Q:
    return Q(connectivity=Connectivity.ONLINE, health__in=UNWELL)


def with_topology() -> Q:
    return Q(connectivity=Connectivity.ONLINE) & ~Q(last_topology_hash="")


def census(now: datetime) -> Census:
    """Two queries: the services, and one grouping of all instances that are not archived."""
    names = {
        pk: (name, environment, archived_at)
        for pk, name, environment, archived_at in Service.objects.values_list(
            "pk", "name", "environment", "archived_at"
        )
    }
    rows = list(_grouped(now))
    by_service: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["service"] in names:
            by_service[row["service"]].append(row)
    offline: list[Group] = []
    sick: list[Group] = []
    drifted: list[Group] = []
    for pk, parts in by_service.items():
        name, environment, _archived = names[pk]
        among = sum(part["count"] for part in parts)
        for found, group in (
            (offline, _offline(parts)),
            (sick, _unwell(parts)),
            (drifted, _drifted(parts)),
        ):
            if group is not None:
                count, of, since, until = group
                found.append(Group(pk, name, environment, count, of or among, since, until))
    for found in (offline, sick, drifted):
        found.sort(key=lambda each: (-each.count, each.environment, each.name))
    return Census(
        services=sum(archived is None for _name, _environment, archived in names.values()),
        figures=_figures(by_service, {pk: environment for pk, (_name, environment, _a) in names.items()}),
        offline=offline,
        unwell=sick,
        drifted=drifted,
        conflicts=sum(row["conflicts"] for row in rows),
        conflict_at=max((row["conflict_at"] for row in rows if row["conflict_at"]), default=None),
    )


def _grouped(now: datetime) -> Iterable[Mapping[str, Any]]:
    lately, told = offline_lately(now), with_topology()
    return (
        kept()
        .order_by()
        .values("service", "dialect", "connectivity", "health")
        .annotate(
            count=Count("pk"),
            lately=Count("pk", filter=lately),
            since=Min("connectivity_changed_at", filter=lately),
            until=Max("connectivity_changed_at", filter=lately),
            sick_since=Min("health_changed_at"),
            conflicts=Count("pk", filter=in_conflict(now)),
            conflict_at=Max("conflict_seen_at", filter=in_conflict(now)),
            told=Count("pk", filter=told),
            least=Min("last_topology_hash", filter=told),
            most=Max("last_topology_hash", filter=told),
        )
    )


_Found = tuple[int, int, datetime | None, datetime | None]


def _offline(parts: list[Mapping[str, Any]]) -> _Found | None:
    """Of those that take part: who was retired long ago is not counted among them."""
    count = sum(part["lately"] for part in parts)
    if not count:
        return None
    retired = sum(part["count"] - part["lately"] for part in parts if part["connectivity"] == Connectivity.OFFLINE)
    among = sum(part["count"] for part in parts) - retired
    return (
        count,
        among,
        min((part["since"] for part in parts if part["since"]), default=None),
        max((part["until"] for part in parts if part["until"]), default=None),
    )


def _unwell(parts: list[Mapping[str, Any]]) -> _Found | None:
    online = [part for part in parts if part["connectivity"] == Connectivity.ONLINE]
    sick = [part for part in online if part["health"] in UNWELL]
    count = sum(part["count"] for part in sick)
    since = min((part["sick_since"] for part in sick if part["sick_since"]), default=None)
    return (count, sum(part["count"] for part in online), since, None) if count else None


def _drifted(parts: list[Mapping[str, Any]]) -> _Found | None:
    hashes = {part[name] for part in parts for name in ("least", "most") if part[name]}
    count = sum(part["told"] for part in parts)
    return (count, count, None, None) if len(hashes) > 1 else None


def _figures(by_service: Mapping[int, list[Mapping[str, Any]]], environments: Mapping[int, str]) -> list[Figures]:
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    services: dict[tuple[str, str], set[int]] = defaultdict(set)
    for pk, parts in by_service.items():
        for part in parts:
            key = (part["dialect"], environments[pk])
            counts[key][part["connectivity"]] += part["count"]
            services[key].add(pk)
    return [
        Figures(
            dialect=dialect,
            environment=environment,
            services=len(services[(dialect, environment)]),
            instances=sum(found.values()),
            online=found[Connectivity.ONLINE.value],
            offline=found[Connectivity.OFFLINE.value],
            never_reported=found[Connectivity.NEVER_REPORTED.value],
        )
        for (dialect, environment), found in sorted(counts.items())
    ]
