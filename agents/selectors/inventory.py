"""The fleet by what it runs: dialects, versions, capabilities, and where a service is not of one mind.

Each figure is a grouped statement over narrow columns of the instances, whatever their number. Archived ones do not
count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from django.db.models import Count, Q, QuerySet

from agents.labels import Selector
from agents.models import Instance, Service, Session
from agents.models.instance import Connectivity, Dialect
from agents.selectors.instances import kept
from agents.selectors.labels import matching
from agents.selectors.visibility import Environments, within

VERSION_FIELDS: Final = ("agent_version", "deployment_version", "python_version")
# Agents of these have no such version: that they do not tell one is no news.
_WITHOUT: Final[Mapping[str, frozenset[str]]] = {"python_version": frozenset({Dialect.ARGUS})}
# Rows of an answer; the instances of what is beyond it are counted.
VERSIONS_MAX: Final = 500
DRIFT_MAX: Final = 50
LACKING_MAX: Final = 100
_LACKING_GROUPS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the fleet; empty is all. Of several selectors each must match."""

    dialect: str = ""
    environment: str = ""
    service: str = ""
    selectors: tuple[Selector, ...] = ()
    environments: Environments = None

    def instances(self) -> QuerySet[Instance]:
        return self._meant(kept().filter(*self._conditions("")).order_by())

    def sessions(self) -> QuerySet[Session]:
        active = Session.objects.filter(status=Session.Status.ACTIVE)
        rows = active.filter(*self._conditions("instance__")).order_by()
        return rows.filter(instance__in=self._meant(Instance.objects.order_by()).values("pk")) if self._labels else rows

    @property
    def _labels(self) -> tuple[Selector, ...]:
        return tuple(selector for selector in self.selectors if selector)

    def _meant(self, rows: QuerySet[Instance]) -> QuerySet[Instance]:
        for selector in self._labels:
            rows = matching(rows, selector)
        return rows

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
    """The commonest first; `left_out` are the instances of those beyond the limit."""

    field: str
    items: list[VersionCount]
    left_out: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A service whose online instances differ in version; `versions` are (deployment, agent) and how many run it."""

    service_id: int
    service_name: str
    environment: str
    versions: list[tuple[str, str, int]]


class _Group(NamedTuple):
    """Instances that are alike."""

    service_id: int
    dialect: str
    agent_version: str
    deployment_version: str
    python_version: str
    connectivity: str
    size: int

    @property
    def online(self) -> int:
        return self.size if self.connectivity == Connectivity.ONLINE else 0


class Composition:
    """What the fleet is made of: two statements when it is made, one scan of the instances and the services.

    Memory: one row for each group of instances of a service that are alike in all that is told here.
    """

    def __init__(self, scope: Scope) -> None:
        columns = _Group._fields[:-1]
        counted = scope.instances().values_list(*columns).annotate(n=Count("pk"))
        self._groups = [_Group(*row) for row in counted]
        rows = Service.objects.values_list("pk", "name", "environment")
        self._services = {pk: (name, environment) for pk, name, environment in rows}

    def parts(self) -> list[FleetPart]:
        """By dialect and environment."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for group in self._groups:
            counts[group.dialect, self._environment(group), group.connectivity] += group.size
        return [
            FleetPart(
                dialect,
                environment,
                sum(counts[dialect, environment, each] for each in Connectivity.values),
                *(counts[dialect, environment, each] for each in _PART_ORDER),
            )
            for dialect, environment in sorted({key[:2] for key in counts})
        ]

    def versions(self, *, by_service: bool = False, limit: int = VERSIONS_MAX) -> list[Versions]:
        """The versions of agents, of what they were deployed with and of Python, of those that have such."""
        return [self._versions(name, by_service, limit) for name in VERSION_FIELDS]

    def _versions(self, name: str, by_service: bool, limit: int) -> Versions:
        counts: Counter[tuple[str, str, str, str]] = Counter()
        online: Counter[tuple[str, str, str, str]] = Counter()
        for group in self._groups:
            version = getattr(group, name)
            if not version and group.dialect in _WITHOUT.get(name, ()):
                continue
            service_name, environment = self._services.get(group.service_id, _GONE)
            key = (group.dialect, environment, service_name if by_service else "", version)
            counts[key] += group.size
            online[key] += group.online
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        items = [VersionCount(*key, count, online[key]) for key, count in ordered[:limit]]
        return Versions(name, items, sum(count for _key, count in ordered[limit:]))

    def drifts(self) -> tuple[int, list[Drift]]:
        """How many services are of mixed versions, and the first DRIFT_MAX of them by environment and name."""
        found: defaultdict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
        for group in self._groups:
            if group.online:
                found[group.service_id][group.deployment_version, group.agent_version] += group.online
        mixed = [pk for pk, versions in found.items() if len(versions) > 1]
        mixed.sort(key=lambda pk: self._services.get(pk, _GONE)[::-1])
        return len(mixed), [
            Drift(
                pk,
                *self._services.get(pk, _GONE),
                [(*key, n) for key, n in sorted(found[pk].items(), key=lambda item: (-item[1], item[0]))],
            )
            for pk in mixed[:DRIFT_MAX]
        ]

    def _environment(self, group: _Group) -> str:
        return self._services.get(group.service_id, _GONE)[1]


_PART_ORDER: Final = (Connectivity.ONLINE, Connectivity.OFFLINE, Connectivity.NEVER_REPORTED)
# A service that was forgotten between the two statements.
_GONE: Final = ("", "")


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
    grouped = scope.sessions().values_list("service_id", "accepted_capabilities")
    counts: Counter[str] = Counter()
    by_service: defaultdict[int | None, list[tuple[list[str], int]]] = defaultdict(list)
    for service_id, accepted, count in grouped.annotate(count=Count("pk")):
        counts.update(dict.fromkeys(sorted(set(map(str, accepted))), count))
        by_service[service_id].append((accepted, count))
    groups = [each for service_id in by_service for each in _lacking_groups(service_id, by_service[service_id])]
    return Capabilities(
        sessions=sum(count for sets in by_service.values() for _accepted, count in sets),
        counts=sorted(counts.items(), key=lambda item: (-item[1], item[0])),
        lacking_count=sum(group.count for group in groups),
        lacking=_lacking(scope, groups[:_LACKING_GROUPS_MAX]),
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


def _lacking(scope: Scope, groups: Sequence[_LackingGroup]) -> list[Lacking]:
    if not groups:
        return []
    condition = Q()
    for group in groups:
        condition |= Q(service=group.service_id, accepted_capabilities=group.accepted)
    missing = {(group.service_id, *group.accepted): group.missing for group in groups}
    rows = (
        scope.sessions()
        .filter(condition)
        .select_related("instance__service")
        .order_by("service", "instance__node_name", "pk")[:LACKING_MAX]
    )
    return [Lacking(row.instance, missing[row.service_id, *row.accepted_capabilities]) for row in rows]
