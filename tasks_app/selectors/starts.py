"""When a scheduled task is to start, and which starts never came: only where an instance was there to make them.

An instance is there from the start of its process to the end of its last session, but not while the task was paused or
the instance drained. Cron tasks start on all instances at the same times, and one start suffices for all; intervals are
counted by each process for itself, from the starts that it told of.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Final
from uuid import UUID

from django.db.models import Q

from agents.models import Command, Event, Session
from agents.models.command import CommandKind
from agents.models.event import EventKind
from agents.selectors.events import TASK_EVENT_KINDS
from tasks_app.models import Task
from tasks_app.schedules import Schedule, Slot, schedule_of, wall_of
from tasks_app.selectors.controls import instance_controls

# What is looked at: sessions, pauses, and events from the newest on. What lies before the last of them is not judged.
SESSIONS_MAX: Final = 500
STOPS_MAX: Final = 500
EVENTS_MAX: Final = 5000
SLOTS_MAX: Final = 2000
# A start is told some seconds after it came; a process opens its sources some seconds after it started.
GRACE: Final = timedelta(seconds=90)
OPENING: Final = timedelta(seconds=10)
# A start may wait behind the one before it, and is then told with the time that it was due at.
_AROUND: Final = timedelta(days=1)
_NEVER: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Start:
    """One start that is to come or should have come. `instance_id` is None where any of several would do.

    `is_estimate` says that the process told of no start yet, so that its phase is not known.
    """

    scheduled_at: datetime
    due_at: datetime
    instance_id: UUID | None = None
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """An instance that would start the task, from `begin` to `end`; `opened_at` is when its process began to count."""

    instance_id: UUID
    begin: datetime
    end: datetime

    def covers(self, slot: Slot, grace: timedelta) -> bool:
        return self.begin + OPENING <= slot.due_at and slot.due_at + grace <= self.end


@dataclass(frozen=True, slots=True)
class _Told:
    """An event of a run: `scheduled_at` as the agent wrote it, "" where it is no scheduled one."""

    instance_id: UUID
    at: datetime
    is_start: bool
    scheduled_at: str


@dataclass(frozen=True, slots=True)
class _Past:
    stretches: list[_Stretch]
    told: list[_Told]
    judged_since: datetime
    is_paused: bool
    online_count: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """The next starts. Where there are none, `is_paused` and `online_count` say why."""

    starts: list[Start]
    is_paused: bool
    online_count: int


def outlook(task: Task, *, now: datetime, count: int) -> Outlook | None:
    """The next `count` starts; None where the task has no schedule. Raises ScheduleInvalid where it cannot be told.

    Five queries.
    """
    schedule = schedule_of(task.source_kind, task.source_config)
    if schedule is None:
        return None
    past = _past(task, now - _AROUND, now)
    starts = list(islice(_next(schedule, past, now), count)) if past.online_count else []
    return Outlook(starts, past.is_paused, past.online_count)


def expected_starts(task: Task, since: datetime, until: datetime) -> list[Start]:
    """The starts that were or will be due from `since` to before `until`, oldest first, at most SLOTS_MAX of them.

    Of the future those that the instances make that are there now. Five queries. Raises ScheduleInvalid.
    """
    schedule = schedule_of(task.source_kind, task.source_config)
    if schedule is None:
        return []
    past = _past(task, since, until)
    found = (start for start, _came in _expected(schedule, past, since, until, timedelta()))
    return _in_order(islice(found, SLOTS_MAX))


def missed_starts(task: Task, since: datetime, until: datetime) -> list[Start]:
    """Starts that were due from `since` on, at least GRACE before `until`, and never came; oldest first.

    Not among them is what an overlap policy leaves out while the run before goes on. Five queries. Raises
    ScheduleInvalid.
    """
    schedule = schedule_of(task.source_kind, task.source_config)
    if schedule is None:
        return []
    past = _past(task, since, until)
    since = max(since, past.judged_since)
    expected = islice(_expected(schedule, past, since, until - GRACE, GRACE), SLOTS_MAX)
    missed = [start for start, came in expected if not came]
    if schedule.overlap != "allow":
        missed = [start for start in missed if not _was_busy(past, start)]
    return _in_order(missed)


@dataclass(frozen=True, slots=True)
class Lost:
    """The first start that nobody was left to make, and which instance went last, at `gone_at`."""

    start: Start
    gone_at: datetime
    instance_id: UUID


def lost_start(task: Task, now: datetime) -> Lost | None:
    """The first start after the last instance that would make it was gone; None while one is there, or where none was
    within a day, or that start is yet to come. Five queries. Raises ScheduleInvalid.
    """
    schedule = schedule_of(task.source_kind, task.source_config)
    if schedule is None:
        return None
    past = _past(task, now - _AROUND, now)
    if past.online_count or not past.stretches:
        return None
    last = max(past.stretches, key=lambda stretch: stretch.end)
    phase = None if schedule.cron is not None else _phase(schedule, past, last)[0]
    slot = next(schedule.slots(last.end, phase=phase), None)
    if slot is None or slot.due_at > now:
        return None
    return Lost(Start(slot.scheduled_at, slot.due_at, last.instance_id), last.end, last.instance_id)


def _in_order(starts: Any) -> list[Start]:
    return sorted(starts, key=lambda start: (start.due_at, start.scheduled_at))


def _next(schedule: Schedule, past: _Past, now: datetime) -> Iterator[Start]:
    """From now on, over all instances that are there, without an end."""
    open_now = [each for each in past.stretches if each.end == _NEVER]
    if schedule.cron is not None:
        if open_now:
            yield from (Start(slot.scheduled_at, slot.due_at) for slot in schedule.slots(now))
        return
    found = []
    for stretch in open_now:
        phase, is_estimate = _phase(schedule, past, stretch)
        slots = islice(schedule.slots(now, phase=phase), 20)
        found += [Start(slot.scheduled_at, slot.due_at, stretch.instance_id, is_estimate) for slot in slots]
    yield from _in_order(found)


def _phase(schedule: Schedule, past: _Past, stretch: _Stretch) -> tuple[datetime | None, bool]:
    """The newest start that the stretch told of, on the wall clock; where it told of none, when it began to count."""
    observed = _observed(schedule, past, stretch)
    if observed:
        return observed[-1], False
    return _wall(stretch.begin, schedule), True


def _wall(moment: datetime, schedule: Schedule) -> datetime:
    return moment.astimezone(schedule.zone).replace(tzinfo=None, fold=0)


def _observed(schedule: Schedule, past: _Past, stretch: _Stretch) -> list[datetime]:
    walls = {
        wall
        for each in past.told
        if each.is_start and each.instance_id == stretch.instance_id and stretch.begin <= each.at <= stretch.end
        if (wall := wall_of(each.scheduled_at, schedule.zone)) is not None
    }
    return sorted(walls)


def _expected(
    schedule: Schedule, past: _Past, since: datetime, until: datetime, grace: timedelta
) -> Iterator[tuple[Start, bool]]:
    """Each start that was to come with whether it came."""
    if schedule.cron is not None:
        yield from _expected_of_cron(schedule, past, since, until, grace)
        return
    for stretch in past.stretches:
        for start, came in _expected_of_interval(schedule, past, stretch, until, grace):
            if since <= start.due_at < until:
                yield start, came


def _expected_of_cron(
    schedule: Schedule, past: _Past, since: datetime, until: datetime, grace: timedelta
) -> Iterator[tuple[Start, bool]]:
    came = {
        wall.replace(tzinfo=schedule.zone).astimezone(UTC)
        for each in past.told
        if each.is_start and (wall := wall_of(each.scheduled_at, schedule.zone)) is not None
    }
    for slot in schedule.slots(since):
        if slot.due_at >= until:
            return
        if any(stretch.covers(slot, grace) for stretch in past.stretches):
            # What is due in the moment that a clock is put forward may come as one.
            together = slot.scheduled_at != slot.due_at and slot.due_at in came
            yield Start(slot.scheduled_at, slot.due_at), slot.scheduled_at in came or together


def _expected_of_interval(
    schedule: Schedule, past: _Past, stretch: _Stretch, until: datetime, grace: timedelta
) -> Iterator[tuple[Start, bool]]:
    """Between two starts that were told of, those of the phase of the first; after the last, those of its phase."""
    every = schedule.every or timedelta()
    tolerance = min(max((every - timedelta(seconds=1)) / 2, timedelta(seconds=1)), timedelta(seconds=60), every / 2)
    observed = _observed(schedule, past, stretch)
    end = min(until, stretch.end - grace) if stretch.end != _NEVER else until
    begin = stretch.begin + every

    def between(first: datetime, last: datetime, phase: datetime, *, is_estimate: bool = False) -> Iterator[Start]:
        for slot in schedule.slots(first, phase=phase):
            if slot.due_at >= last:
                return
            yield Start(slot.scheduled_at, slot.due_at, stretch.instance_id, is_estimate)

    if not observed:
        # When it began to count is known to some seconds only, whichever start is asked for.
        late = between(begin, end - every, _wall(stretch.begin, schedule), is_estimate=True)
        yield from ((start, False) for start in late)
        return
    moments = [(wall, wall.replace(tzinfo=schedule.zone).astimezone(UTC)) for wall in observed]
    first_wall, first = moments[0]
    yield from ((start, False) for start in between(begin + tolerance, first - tolerance, first_wall))
    for (wall, moment), (_next_wall, following) in pairwise([*moments, (first_wall, end + tolerance)]):
        yield Start(moment, moment, stretch.instance_id), True
        yield from ((start, False) for start in between(moment + tolerance, following - tolerance, wall))


def _was_busy(past: _Past, start: Start) -> bool:
    """Whether whoever was to make the start was still at the run before, each of them."""
    slot = Slot(start.scheduled_at, start.due_at)
    wanted = {
        stretch.instance_id
        for stretch in past.stretches
        if start.instance_id in {None, stretch.instance_id} and stretch.covers(slot, timedelta())
    }
    latest: dict[UUID, _Told] = {}
    for each in past.told:
        if each.at <= start.due_at:
            latest[each.instance_id] = each
    return bool(wanted) and all(each in latest and latest[each].is_start for each in wanted)


def _past(task: Task, since: datetime, until: datetime) -> _Past:
    told, judged_since = _events(task, since, until)
    processes, online = _processes(task, since, until)
    stops = _stops(task, {process.instance_id for process in processes}, until)
    stretches = [stretch for process in processes for stretch in _without(process, stops.get(process.instance_id, []))]
    said = {
        each.instance_id: bool(state.paused or state.pause_requested)
        for each in instance_controls(task.service, online_only=True, task_name=task.name)
        if (state := each.states.get(task.name)) is not None
    }
    # Paused by whom and since when is not known: nothing is said of that process.
    stretches = [each for each in stretches if not (each.end == _NEVER and said.get(each.instance_id))]
    return _Past(stretches, told, judged_since, bool(said) and all(said.values()), len(online))


def _events(task: Task, since: datetime, until: datetime) -> tuple[list[_Told], datetime]:
    """What runs told, oldest first, and since when that is whole."""
    rows: Any = (
        Event.objects.filter(
            service=task.service_id,
            task_name=task.name,
            kind__in=TASK_EVENT_KINDS,
            occurred_at__gte=since - _AROUND,
            occurred_at__lte=until + _AROUND,
        )
        .exclude(task_name="")
        .order_by("-occurred_at", "-id")
        .values_list("instance_id", "occurred_at", "kind", "meta__scheduled_at")[:EVENTS_MAX]
    )
    told = [
        _Told(instance_id, at, kind == EventKind.TASK_STARTED, scheduled_at if isinstance(scheduled_at, str) else "")
        for instance_id, at, kind, scheduled_at in rows
        if instance_id is not None
    ]
    is_cut = len(rows) == EVENTS_MAX
    told.reverse()
    return told, (told[0].at + GRACE if is_cut and told else since)


def _processes(task: Task, since: datetime, until: datetime) -> tuple[list[_Stretch], Collection[UUID]]:
    """How long each process of the service was there, its sessions joined, and which instances are there now."""
    rows: Any = (
        Session.objects.filter(Q(disconnected_at=None) | Q(disconnected_at__gte=since), service=task.service_id)
        .filter(connected_at__lt=until)
        .order_by("-connected_at", "-id")
        .values_list("pk", "instance_id", "runtime_started_at", "connected_at", "disconnected_at", "status")
    )
    found: dict[Any, _Stretch] = {}
    online = set()
    for pk, instance_id, started_at, connected_at, ended_at, status in rows[:SESSIONS_MAX]:
        is_active = status == Session.Status.ACTIVE
        if is_active:
            online.add(instance_id)
        begin = min(started_at or connected_at, connected_at)
        end = _NEVER if is_active else ended_at or connected_at
        before = found.get((instance_id, started_at or pk))
        joined = _Stretch(instance_id, begin, end)
        if before is not None:
            joined = replace(joined, begin=min(begin, before.begin), end=max(end, before.end))
        found[instance_id, started_at or pk] = joined
    return list(found.values()), online


def _stops(task: Task, instance_ids: Collection[UUID], until: datetime) -> dict[UUID, list[tuple[datetime, datetime]]]:
    """When the task took no work on each instance, by the commands that it obeyed; without an end until it is told to
    go on, or its process ends."""
    obeyed = Command.objects.filter(service=task.service_id, status=Command.Status.SUCCEEDED, finished_at__lt=until)
    columns = ("instance_id", "kind", "created_at", "finished_at")
    of_task: Any = obeyed.filter(task_name=task.name, kind__in=(CommandKind.PAUSE_TASK, CommandKind.RESUME_TASK))
    rows = list(of_task.exclude(task_name="").order_by("-created_at").values_list(*columns)[:STOPS_MAX])
    drained: Any = obeyed.filter(kind=CommandKind.DRAIN, instance__in=instance_ids).order_by("-finished_at")
    rows += list(drained.values_list(*columns)[:STOPS_MAX])
    stops: dict[UUID, list[tuple[datetime, datetime]]] = {}
    for instance_id, kind, ordered_at, finished_at in sorted(rows, key=lambda row: row[3]):
        of_instance = stops.setdefault(instance_id, [])
        if kind != CommandKind.RESUME_TASK:
            of_instance.append((ordered_at, _NEVER))
        else:
            of_instance[:] = [(begin, min(end, finished_at)) for begin, end in of_instance]
    return stops


def _without(process: _Stretch, stops: list[tuple[datetime, datetime]]) -> Iterator[_Stretch]:
    """What is left of the process. A stop of an earlier process ended with that one."""
    begin = process.begin
    for stopped_at, resumed_at in stops:
        if stopped_at < process.begin or stopped_at >= process.end:
            continue
        if stopped_at > begin:
            yield replace(process, begin=begin, end=stopped_at)
        begin = max(begin, resumed_at)
    if begin < process.end:
        yield replace(process, begin=begin)
