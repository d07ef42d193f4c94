"""Which instances of a service run which topology, and in what these differ.

What an instance runs is its own `AppSnapshot`, the app object of its last accepted sync; so a difference is between
what two instances really said, and not what was left of the service's last definition.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from agents.models import Instance, Service
from agents.models.instance import Connectivity
from tasks_app.models import AppSnapshot

# Topologies that are shown, those of most online instances first; the number of all is told.
GROUPS_MAX: Final = 6
EXAMPLES: Final = 5
TASKS_SHOWN: Final = 40
FIELDS_SHOWN: Final = 40
VALUE_CHARS: Final = 160
# What each instance says of itself, and no setting.
_IDENTITY: Final = frozenset({"name", "topology_hash", "tasks"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A value as the reference has it and as the other has it, as JSON; "" where it is not there at all."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class TaskChange:
    name: str
    fields: list[FieldChange]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from the reference to the other: tasks by name, and the settings of the app beside them."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[TaskChange] = field(default_factory=list)
    settings: list[FieldChange] = field(default_factory=list)
    more_tasks: int = 0

    @property
    def is_empty(self) -> bool:
        """Nothing differs in what they said, though their hashes do."""
        return not (self.added or self.removed or self.changed or self.settings)


@dataclass(frozen=True, slots=True)
class TopologyGroup:
    """The instances that run one topology. `difference` is None for the reference, and where nobody told enough."""

    topology_hash: str
    online: int
    elsewhere: int
    versions: list[tuple[str, int]]
    examples: list[Instance]
    is_reference: bool
    difference: Difference | None

    @property
    def more(self) -> int:
        return max(0, self.online + self.elsewhere - len(self.examples))


@dataclass(frozen=True, slots=True)
class Drift:
    """`online_count` topologies run at online instances: more than one is drift. `group_count` are there in all."""

    groups: list[TopologyGroup] = field(default_factory=list)
    group_count: int = 0
    online_count: int = 0

    @property
    def is_drifted(self) -> bool:
        return self.online_count > 1


def drift(service: Service) -> Drift:
    """What the instances of a service run, archived ones left out. One query, and two more where they differ."""
    online: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    versions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows = (
        Instance.objects.filter(service=service, archived_at=None)
        .exclude(last_topology_hash="")
        .order_by()
        .values_list("last_topology_hash", "connectivity", "deployment_version")
        .annotate(count=Count("pk"))
    )
    for topology_hash, connectivity, version, count in rows:
        (online if connectivity == Connectivity.ONLINE else elsewhere)[topology_hash] += count
        versions[topology_hash][version] += count
    latest = service.latest_topology_hash
    hashes = sorted(versions, key=lambda each: (-online[each], each != latest, -elsewhere[each], each))
    if len(hashes) < 2:
        return Drift([], len(hashes), len(online))
    reference = latest if online[latest] or (latest in versions and not online) else hashes[0]
    shown = [reference, *(each for each in hashes if each != reference)][:GROUPS_MAX]
    examples = _examples(service, shown)
    apps = _apps({found[0].pk: topology_hash for topology_hash, found in examples.items()})
    groups = [
        TopologyGroup(
            topology_hash=each,
            online=online[each],
            elsewhere=elsewhere[each],
            versions=versions[each].most_common(),
            examples=examples.get(each, []),
            is_reference=each == reference,
            difference=difference(apps[reference], apps[each])
            if each != reference and each in apps and reference in apps
            else None,
        )
        for each in shown
    ]
    return Drift(groups, len(hashes), len(online))


def _examples(service: Service, hashes: list[str]) -> dict[str, list[Instance]]:
    """A few instances of each topology, online ones first."""
    place = Window(
        RowNumber(),
        partition_by=F("last_topology_hash"),
        order_by=(F("connectivity").desc(), F("node_name").asc(), F("pk").asc()),
    )
    rows = (
        Instance.objects.filter(service=service, archived_at=None, last_topology_hash__in=hashes)
        .annotate(place=place)
        .filter(place__lte=EXAMPLES)
        .order_by("place")
    )
    found: defaultdict[str, list[Instance]] = defaultdict(list)
    for instance in rows:
        found[instance.last_topology_hash].append(instance)
    return dict(found)


def _apps(wanted: Mapping[object, str]) -> dict[str, dict[str, object]]:
    """What the first example of each topology said, by hash."""
    rows = AppSnapshot.objects.filter(pk__in=list(wanted)).values_list("pk", "app")
    return {wanted[pk]: app for pk, app in rows if isinstance(app, dict)}


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> Difference:
    """What changes from one app object to the other; the order of tasks and of named parts counts for nothing."""
    old, new = _tasks(before), _tasks(after)
    both = [name for name in old if name in new and old[name] != new[name]]
    return Difference(
        added=sorted(new.keys() - old.keys())[:TASKS_SHOWN],
        removed=sorted(old.keys() - new.keys())[:TASKS_SHOWN],
        changed=[change for name in sorted(both)[:TASKS_SHOWN] if (change := _task_change(name, old[name], new[name]))],
        settings=_changes(_settings(before), _settings(after))[:FIELDS_SHOWN],
        more_tasks=sum(
            max(0, count - TASKS_SHOWN)
            for count in (len(both), len(new.keys() - old.keys()), len(old.keys() - new.keys()))
        ),
    )


def _tasks(app: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    tasks = app.get("tasks")
    return {str(task.get("name")): task for task in tasks if isinstance(task, dict)} if isinstance(tasks, list) else {}


def _settings(app: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in app.items() if name not in _IDENTITY}


def _task_change(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> TaskChange | None:
    """None where only the order of something differs."""
    found = _changes(before, after)
    return TaskChange(name, found[:FIELDS_SHOWN], max(0, len(found) - FIELDS_SHOWN)) if found else None


def _changes(before: object, after: object) -> list[FieldChange]:
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return [
        FieldChange(path, _cut(old.get(path, "")), _cut(new.get(path, "")))
        for path in sorted(old.keys() | new.keys())
        if old.get(path, "") != new.get(path, "")
    ]


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Each value that nests no further, with the path to it. Parts of a list go by their names, where all have one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        names = [str(each["name"]) for each in value if isinstance(each, dict) and each.get("name")]
        named = len(set(names)) == len(value)
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{names[number] if named else number}]")
    elif value is not None:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARS else text[:VALUE_CHARS] + "…"
