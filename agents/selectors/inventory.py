"""The fleet by what it runs: dialects, versions, capabilities, and where a service is not of one mind.

Each figure is a grouped statement over narrow columns of the instances, whatever their number. Archived ones do not
count.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Count, F, Max, Min, Q, QuerySet, TextField
from django.db.models.functions import Cast

from agents.models import Instance, Session
from agents.models.instance import Connectivity
from agents.selectors.instances import kept
from agents.selectors.visibility import Environments, within

VERSION_FIELDS: Final = ("agent_version", "deployment_version", "python_version")
# Rows of an answer; the instances of what is beyond it are counted.
VERSIONS_MAX: Final = 500
DRIFT_MAX: Final = 50
LACKING_MAX: Final = 100
_LACKING_GROUPS_MAX: Final = 20
_ONLINE = Count("pk", filter=Q(connectivity=Connectivity.ONLINE))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the fleet; empty is all."""

    dialect: str = ""
    environment: str = ""
    service: str = ""
    environments: Environments = None

    def instances(self) -> QuerySet[Instance]:
        return kept().filter(*self._conditions("")).order_by()

    def sessions(self) -> QuerySet[Session]:
        active = Session.objects.filter(status=Session.Status.ACTIVE)
        return active.filter(*self._conditions("instance__")).order_by()

    def _conditions(self, path: str) -> list[Q]:
        named = {
            f"{path}dialect": self.dialect,
            f"{path}service__environment": self.environment,
            f"{path}service__name": self.service,
        }
        return [
            within(self.environments, f"{path}service__environment"),
            *(Q(**{name: value}) for name, value in named.items() if value),
        ]


@dataclass(frozen=True, slots=True)
class FleetPart:
    dialect: str
    environment: str
    instances: int
    online: int
    offline: int
    never_reported: int


def fleet_parts(scope: Scope) -> list[FleetPart]:
    """How many instances there are of each dialect in each environment. One statement."""
    grouped = (
        scope.instances()
        .values_list("dialect", "service__environment")
        .annotate(
            instances=Count("pk"),
            online=_ONLINE,
            offline=Count("pk", filter=Q(connectivity=Connectivity.OFFLINE)),
            never=Count("pk", filter=Q(connectivity=Connectivity.NEVER_REPORTED)),
        )
    )
    return [FleetPart(*row) for row in grouped.order_by("dialect", "service__environment")]


@dataclass(frozen=True, slots=True)
class VersionCount:
    """How many run one version; `service_name` is empty where services are not told apart."""

    dialect: str
    environment: str
    service_name: str
    version: str
    instances: int
    online: int


@dataclass(frozen=True, slots=True)
class Versions:
    """The commonest first; `left_out` are the instances of those beyond VERSIONS_MAX."""

    field: str
    items: list[VersionCount]
    left_out: int


def versions(scope: Scope, *, by_service: bool = False, limit: int = VERSIONS_MAX) -> list[Versions]:
    """The versions of agents, of what they were deployed with and of Python. Three statements; three more, for what is
    left out, where there are more than `limit`."""
    return [_versions(scope, name, by_service, limit) for name in VERSION_FIELDS]


def _versions(scope: Scope, name: str, by_service: bool, limit: int) -> Versions:
    keys = ["dialect", "service__environment", *(["service__name"] if by_service else []), name]
    counted = scope.instances().values_list(*keys).annotate(instances=Count("pk"), online=_ONLINE)
    rows: Sequence[Any] = list(counted.order_by("-instances", *keys)[: limit + 1])
    shown = rows[:limit]
    items = [VersionCount(row[0], row[1], row[2] if by_service else "", *row[-3:]) for row in shown]
    left_out = scope.instances().count() - sum(item.instances for item in items) if len(rows) > limit else 0
    return Versions(name, items, left_out)


@dataclass(frozen=True, slots=True)
class Drift:
    """A service whose online instances differ in version; `versions` are (deployment, agent) and how many run it."""

    service_id: int
    service_name: str
    environment: str
    versions: list[tuple[str, str, int]]


def drifts(scope: Scope) -> tuple[int, list[Drift]]:
    """How many services are of mixed versions, and the first DRIFT_MAX of them by name. Three statements."""
    mixed = (
        scope.instances()
        .filter(connectivity=Connectivity.ONLINE)
        .values("service_id")
        .annotate(
            low=Min("deployment_version"),
            high=Max("deployment_version"),
            agent_low=Min("agent_version"),
            agent_high=Max("agent_version"),
        )
        .filter(Q(low__lt=F("high")) | Q(agent_low__lt=F("agent_high")))
    )
    ids = list(mixed.order_by("service__environment", "service__name").values_list("service_id", flat=True))
    rows = (
        kept()
        .filter(connectivity=Connectivity.ONLINE, service__in=ids[:DRIFT_MAX])
        .order_by()
        .values_list("service_id", "service__name", "service__environment", "deployment_version", "agent_version")
        .annotate(count=Count("pk"))
        .order_by("service__environment", "service__name", "-count", "deployment_version", "agent_version")
    )
    found: dict[int, Drift] = {}
    for service_id, name, environment, deployment, agent, count in rows:
        drift = found.setdefault(service_id, Drift(service_id, name, environment, []))
        drift.versions.append((deployment, agent, count))
    return len(ids), list(found.values())


@dataclass(frozen=True, slots=True)
class Lacking:
    """A connected instance whose session lacks what most of its service accept."""

    instance: Instance
    capabilities: list[str]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`counts` are of sessions by capability, the commonest first; `lacking` are up to LACKING_MAX."""

    sessions: int
    counts: list[tuple[str, int]]
    lacking_count: int
    lacking: list[Lacking] = field(default_factory=list)


def capabilities(scope: Scope) -> Capabilities:
    """What the live sessions accept. Two statements: one over all of them, one for the first that lack something."""
    grouped = scope.sessions().values_list("service_id", Cast("accepted_capabilities", TextField()))
    counts: Counter[str] = Counter()
    by_service: defaultdict[int | None, list[tuple[list[str], int]]] = defaultdict(list)
    for service_id, text, count in grouped.annotate(count=Count("pk")):
        accepted = sorted({str(each) for each in json.loads(text)})
        counts.update(dict.fromkeys(accepted, count))
        by_service[service_id].append((json.loads(text), count))
    groups = [each for service_id in by_service for each in _lacking_groups(service_id, by_service[service_id])]
    return Capabilities(
        sessions=sum(count for sets in by_service.values() for _accepted, count in sets),
        counts=sorted(counts.items(), key=lambda item: (-item[1], item[0])),
        lacking_count=sum(group.count for group in groups),
        lacking=_lacking(groups[:_LACKING_GROUPS_MAX]),
    )


@dataclass(frozen=True, slots=True)
class _LackingGroup:
    service_id: int | None
    accepted: list[str]
    missing: list[str]
    count: int


def _lacking_groups(service_id: int | None, sets: Iterable[tuple[list[str], int]]) -> list[_LackingGroup]:
    """The sets of capabilities within a service that lack what more than half of its sessions accept."""
    given = list(sets)
    total = sum(count for _accepted, count in given)
    counts: Counter[str] = Counter()
    for accepted, count in given:
        counts.update(dict.fromkeys(set(accepted), count))
    usual = {name for name, count in counts.items() if count * 2 > total}
    return [
        _LackingGroup(service_id, accepted, sorted(usual.difference(accepted)), count)
        for accepted, count in given
        if usual.difference(accepted)
    ]


def _lacking(groups: Sequence[_LackingGroup]) -> list[Lacking]:
    if not groups:
        return []
    condition = Q()
    for group in groups:
        condition |= Q(service=group.service_id, accepted_capabilities=group.accepted)
    missing = {(group.service_id, *group.accepted): group.missing for group in groups}
    rows = (
        Session.objects.filter(condition, status=Session.Status.ACTIVE)
        .select_related("instance__service")
        .order_by("service", "instance__node_name", "pk")[:LACKING_MAX]
    )
    return [Lacking(row.instance, missing[row.service_id, *row.accepted_capabilities]) for row in rows]
