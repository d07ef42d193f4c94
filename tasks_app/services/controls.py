"""Task controls: what each instance says of the state of its tasks."""

from collections.abc import Sequence
from uuid import UUID

from agents.models import Instance
from agents.services.reports import Heartbeat
from tasks_app.models import AppSnapshot, TaskControls


def store_controls(heartbeats: Sequence[Heartbeat]) -> None:
    """Replace the controls of each instance by those of its heartbeat, if that heartbeat is the one that counted.

    Entries for tasks that a known topology does not have are left out. Call it after `apply_heartbeats`, inside the
    same transaction; `heartbeats` holds each instance once. Source: contract 2.2.
    """
    reporting = [beat for beat in heartbeats if beat.controls is not None]
    if not reporting:
        return
    counted = _counted(reporting)
    reporting = [beat for beat in reporting if counted.get(beat.service.instance_id) == _mark(beat)]
    known_tasks = _known_tasks([beat.service.instance_id for beat in reporting])
    rows = []
    for beat in reporting:
        known = known_tasks.get(beat.service.instance_id)
        controls = [control for control in beat.controls or () if known is None or control["task_name"] in known]
        rows.append(TaskControls(instance_id=beat.service.instance_id, controls=controls, updated_at=beat.received_at))
    TaskControls.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["instance"], update_fields=["controls", "updated_at"]
    )


def _mark(beat: Heartbeat) -> tuple[object, ...]:
    return (beat.epoch_at, beat.sequence, beat.sent_at)


def _counted(beats: Sequence[Heartbeat]) -> dict[UUID, tuple[object, ...]]:
    """The guard of each instance after the update: equal to a heartbeat's mark where that one counted."""
    rows = Instance.objects.filter(pk__in=[beat.service.instance_id for beat in beats]).values_list(
        "pk", "last_heartbeat_started_at", "last_heartbeat_sequence", "last_heartbeat_sent_at"
    )
    return {pk: (started_at, sequence, sent_at) for pk, started_at, sequence, sent_at in rows}


def _known_tasks(instance_ids: Sequence[UUID]) -> dict[UUID, set[str]]:
    snapshots = AppSnapshot.objects.filter(pk__in=instance_ids).values_list("pk", "app__tasks")
    return {pk: _names(tasks) for pk, tasks in snapshots}


def _names(tasks: object) -> set[str]:
    """The names in a stored snapshot, which may be older than the checks that parsing makes today."""
    if not isinstance(tasks, list):
        return set()
    names = (task.get("name") for task in tasks if isinstance(task, dict))
    return {name for name in names if isinstance(name, str)}
