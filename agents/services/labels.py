"""Labels of instances: what agents say, what nodes were registered with, and what operators give them.

Each layer is written alone, and in the same statement the layers in one: whoever writes one layer while somebody else
writes another waits for that row and reads what the other wrote.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from agents.labels import LabelsInvalid, check_labels, read_tags, usable_labels
from agents.labels.rules import FIELD_PREFIX, problem_of_count, warnings_of_count
from agents.models import Instance, InstanceLabels
from agents.models.event import EventKind
from agents.services.errors import InstanceUnknown
from agents.services.events import NAME_MAX_CHARS, NewEvent, portal_event, record_events
from controlplane.common.actors import Actor
from controlplane.common.bulk import insert_new, upsert
from controlplane.common.changes import subject_of
from controlplane.common.clean import clean_text
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import VALUE_MAX_CHARS

# How many instances get labels at once at most: each has an event of its own.
INSTANCES_MAX: Final = 10_000
# Of an agent's labels that were left out, so many are remembered.
_REFUSED_MAX: Final = 20
_REFUSED_KEY_CHARS: Final = 80
_COLUMNS: Final = ("instance_id", "agent", "tags", "operator", "effective", "refused")
# The layers in one, each over those before it; values are texts, so that nothing is merged within them.
_EFFECTIVE: Final = {
    "postgresql": "{agent} || {tags} || {operator}",
    "sqlite": "json_patch(json_patch({agent}, {tags}), {operator})",
}

Layer: TypeAlias = Literal["agent", "tags", "operator"]
LabelMap: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LabelsChanged:
    """How a change of operators' labels went: of how many instances, how many were different before, and warnings."""

    instance_count: int
    changed_ids: frozenset[UUID]
    warnings: tuple[str, ...] = ()


def store_agent_labels(said: Iterable[tuple[UUID, Mapping[str, object]]]) -> set[UUID]:
    """Replace the labels that agents gave their instances; returns whose changed.

    A label that may not be is left out; that one was is an event, once for the same ones, and stands with the stored
    labels. Of several maps for one instance the last counts. Call it inside the transaction that knows the instances
    exist. Cost: one read, and one statement more where something changed.
    """
    given = {instance_id: _usable(labels) for instance_id, labels in said}
    stored = _stored(given, "agent", "refused")
    changed, rejected = [], {}
    for instance_id, (labels, refused) in given.items():
        before = stored.get(instance_id, {"agent": {}, "refused": {}})
        if before != {"agent": labels, "refused": refused}:
            changed.append((instance_id, labels, refused))
        if refused and before["refused"] != refused:
            rejected[instance_id] = refused
    _write(
        "agent",
        [(instance_id, labels) for instance_id, labels, _refused in changed],
        {instance_id: refused for instance_id, _labels, refused in changed},
    )
    _record_rejected(rejected)
    return {instance_id for instance_id, _labels, _refused in changed}


def store_tags(said: Iterable[tuple[UUID, Sequence[object]]]) -> set[UUID]:
    """Replace the labels that instances have by the tags of their nodes; returns whose changed.

    A tag that is no label is left out; `agents.selectors.labels` tells which and why, as `Node.label` keeps them all.
    Call it inside the transaction that changed `Node.label`. Cost: one read, and one statement more where something
    changed.
    """
    given = {instance_id: read_tags(tags).labels for instance_id, tags in said}
    stored = _stored(given, "tags")
    changed = [
        (instance_id, labels)
        for instance_id, labels in given.items()
        if stored.get(instance_id, {"tags": {}})["tags"] != labels
    ]
    _write("tags", changed)
    return {instance_id for instance_id, _labels in changed}


def set_operator_labels(instance_id: UUID, labels: object, *, actor: Actor) -> LabelsChanged:
    """Replace the labels that operators gave an instance. Raises LabelsInvalid and InstanceUnknown."""
    check_labels(labels)
    wanted = dict(labels) if isinstance(labels, Mapping) else {}
    return _change([instance_id], lambda _before: wanted, actor=actor)


def change_operator_labels(
    instance_ids: Collection[UUID], *, given: Mapping[str, object], removed: Collection[str] = (), actor: Actor
) -> LabelsChanged:
    """Give instances these labels of operators and take others off; all other labels stay.

    All or nothing. Raises LabelsInvalid with the field `set.<key>` or `remove`, also where an instance would have too
    many; InstanceUnknown where one of the instances does not exist. A constant number of statements.
    """
    check_labels(given, field="set")
    if both := sorted(given.keys() & set(removed)):
        raise LabelsInvalid(_("“%(key)s” cannot be set and removed at once.") % {"key": both[0]}, field="remove")
    labels = {key: value for key, value in given.items() if isinstance(value, str)}
    gone = set(removed)
    return _change(
        instance_ids,
        lambda before: {key: value for key, value in before.items() if key not in gone} | labels,
        actor=actor,
    )


def patch_operator_labels(instance_id: UUID, patch: object, *, actor: Actor) -> LabelsChanged:
    """Give an instance labels of operators and, where a value is None, take them off (RFC 7396)."""
    if not isinstance(patch, Mapping):
        check_labels(patch)
        return LabelsChanged(0, frozenset())
    given = {key: value for key, value in patch.items() if value is not None}
    check_labels(given)
    return change_operator_labels(
        [instance_id], given=given, removed=[key for key in patch if key not in given], actor=actor
    )


@transaction.atomic
def _change(
    instance_ids: Collection[UUID], change: Callable[[LabelMap], dict[str, str]], *, actor: Actor
) -> LabelsChanged:
    ids = set(instance_ids)
    if len(ids) > INSTANCES_MAX:
        raise Invalid(
            _("Labels are given to %(max)d instances at once at most; these are %(count)d.")
            % {"max": INSTANCES_MAX, "count": len(ids)},
            field="instance_ids",
            code="too_many_instances",
        )
    instances = {row.pk: row for row in _named(ids)}
    if missing := ids - instances.keys():
        raise InstanceUnknown(_("There is no instance %(id)s.") % {"id": min(missing)})
    # A row to lock, where there is none: two operators at once must each tell what they really replaced.
    insert_new(InstanceLabels, _COLUMNS, [(instance_id, {}, {}, {}, {}, {}) for instance_id in sorted(ids)])
    locked = InstanceLabels.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    changes: list[tuple[UUID, LabelMap, dict[str, str]]] = []
    largest = 0
    for instance_id, before in locked.values_list("pk", "operator"):
        after = change(before)
        largest = max(largest, len(after))
        if len(after) > len(before) and (problem := problem_of_count(len(after))):
            raise LabelsInvalid(f"{instances[instance_id]}: {problem}", field="labels")
        if after != before:
            changes.append((instance_id, before, after))
    _write("operator", [(instance_id, after) for instance_id, _before, after in changes])
    now = timezone.now()
    record_events(_changed(instances[instance_id], before, after, actor, now) for instance_id, before, after in changes)
    warnings = tuple(warnings_of_count(largest))
    return LabelsChanged(len(ids), frozenset(instance_id for instance_id, _before, _after in changes), warnings)


def _named(ids: Collection[UUID]) -> "QuerySet[Instance]":
    return Instance.objects.filter(pk__in=ids).only("id", "service_id", "node_name", "external_id")


def _changed(instance: Instance, before: LabelMap, after: LabelMap, actor: Actor, at: datetime) -> NewEvent:
    """The event of a change, with the labels that differ, named as fields are."""
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    meta = actor.origin()
    for name, labels in (("before", before), ("after", after)):
        told = {f"{FIELD_PREFIX}{key}": _cut(labels[key]) for key in keys if key in labels}
        if told:
            meta[name] = told
    return portal_event(
        EventKind.OBJECT_CHANGED,
        at=at,
        instance=instance,
        subject=subject_of(instance),
        actor=actor.name,
        message=clean_text(str(instance), NAME_MAX_CHARS),
        meta=meta,
    )


def _cut(value: str) -> str:
    return value if len(value) <= VALUE_MAX_CHARS else f"{value[:VALUE_MAX_CHARS]}…"


def _usable(labels: Mapping[str, object]) -> tuple[dict[str, str], dict[str, str]]:
    """What may be stored of an agent's labels, and why some of the others may not."""
    # What is stored and told in events is in English.
    with translation.override("en"):
        usable, refused = usable_labels(labels)
    shown = sorted(refused.items())[:_REFUSED_MAX]
    return usable, {clean_text(key, _REFUSED_KEY_CHARS): clean_text(reason) for key, reason in shown}


def _stored(ids: Collection[UUID], *columns: str) -> dict[UUID, dict[str, object]]:
    return {row.pop("pk"): row for row in InstanceLabels.objects.filter(pk__in=ids).values("pk", *columns)}


def _write(layer: Layer, rows: Sequence[tuple[UUID, LabelMap]], refused: Mapping[UUID, LabelMap] | None = None) -> None:
    """Store one layer of each instance, and the layers in one."""
    layers = {name: "v." + name if name == layer else "t." + name for name in ("agent", "tags", "operator")}
    effective = _EFFECTIVE[connection.vendor].format(**layers)
    assignments = f"{layer} = v.{layer}, effective = {effective}"
    if refused is not None:
        assignments += ", refused = v.refused"
    upsert(
        InstanceLabels,
        _COLUMNS,
        [
            (
                instance_id,
                *(labels if name == layer else {} for name in ("agent", "tags", "operator")),
                labels,
                (refused or {}).get(instance_id, {}),
            )
            for instance_id, labels in rows
        ],
        assignments=assignments,
    )


def _record_rejected(rejected: Mapping[UUID, LabelMap]) -> None:
    """One event for each instance of which labels were left out, with the reasons."""
    if not rejected:
        return
    now = timezone.now()
    record_events(
        portal_event(
            EventKind.INGEST_REJECTED,
            at=now,
            instance=instance,
            message=" ".join(dict.fromkeys(rejected[instance.pk].values())),
            meta={"channel": "labels", "count": len(rejected[instance.pk]), "keys": list(rejected[instance.pk])},
        )
        for instance in _named(rejected)
    )
