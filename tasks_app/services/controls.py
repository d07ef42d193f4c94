"""Task controls: what each instance says of the state of its tasks."""

from collections.abc import Sequence
from uuid import UUID

from agents.models import Instance
from agents.services.reports import Heartbeat
from controlplane.common.bulk import rows_where, upsert
from tasks_app.models import AppSnapshot, TaskControls

_INSTANCE, _CONTROLS, _SNAPSHOT = (model._meta.db_table for model in (Instance, TaskControls, AppSnapshot))
_SAID = (
    (Instance, "id"),
    (Instance, "last_heartbeat_started_at"),
    (Instance, "last_heartbeat_sequence"),
    (Instance, "last_heartbeat_sent_at"),
    (TaskControls, "controls"),
)
_JOINS = f"""
    JOIN {_INSTANCE} i ON i.id = v.id
    LEFT JOIN {_CONTROLS} c ON c.instance_id = i.id
    LEFT JOIN {_SNAPSHOT} s ON s.instance_id = i.id
"""
# The heartbeat counted, and either it says something else than is stored, or a newer topology may know other tasks.
_SAYS_MORE = """
    (i.last_heartbeat_started_at, i.last_heartbeat_sequence, i.last_heartbeat_sent_at)
        = (v.last_heartbeat_started_at, v.last_heartbeat_sequence, v.last_heartbeat_sent_at)
    AND (c.instance_id IS NULL OR c.controls <> v.controls OR c.updated_at <= s.updated_at)
"""


def store_controls(heartbeats: Sequence[Heartbeat]) -> None:
    """Replace the controls of each instance by those of its heartbeat, if that heartbeat is the one that counted.

    Entries for tasks that a known topology does not have are left out; what is stored already is not written again.
    Call it after `apply_heartbeats`, inside the same transaction; `heartbeats` holds each instance once. Source:
    contract 2.2.
    """
    reporting = [beat for beat in heartbeats if beat.controls is not None]
    said = [(beat.service.instance_id, beat.epoch_at, beat.sequence, beat.sent_at, beat.controls) for beat in reporting]
    changed = [reporting[number] for number in rows_where(_SAID, said, joins=_JOINS, condition=_SAYS_MORE)]
    known_tasks = _known_tasks([beat.service.instance_id for beat in changed])
    rows = []
    for beat in changed:
        known = known_tasks.get(beat.service.instance_id)
        controls = [control for control in beat.controls or () if known is None or control["task_name"] in known]
        rows.append((beat.service.instance_id, controls, beat.received_at))
    upsert(TaskControls, ("instance", "controls", "updated_at"), rows)


def _known_tasks(instance_ids: Sequence[UUID]) -> dict[UUID, set[str]]:
    if not instance_ids:
        return {}
    snapshots = AppSnapshot.objects.filter(pk__in=instance_ids).values_list("pk", "app__tasks")
    return {pk: _names(tasks) for pk, tasks in snapshots}


def _names(tasks: object) -> set[str]:
    """The names in a stored snapshot, which may be older than the checks that parsing makes today."""
    if not isinstance(tasks, list):
        return set()
    names = (task.get("name") for task in tasks if isinstance(task, dict))
    return {name for name in names if isinstance(name, str)}
