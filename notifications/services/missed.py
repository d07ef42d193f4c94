"""Starts that never came become events, once each. Source: contract 7.5.

What is told of a task is what tasks_app.selectors.starts makes of its schedule and its past, so that pages and messages
say the same. Tasks are looked at in turn, so many at a time: the next look goes on where this one ended.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.models.event import EventKind
from agents.services.events import NewEvent, level_of, record_events
from agents.services.liveness import sight_since
from controlplane.common.errors import Invalid
from notifications.models import EventType, Rule, RuleCursor
from tasks_app.models import Task
from tasks_app.schedules import SCHEDULED_KINDS, ScheduleInvalid
from tasks_app.selectors.starts import GRACE, Start, lost_start, missed_starts

# Ten queries each.
TASKS_PER_LOOK: Final = 100
# How far back a look goes, beyond the grace: a portal that was away tells what was missed meanwhile, and no more.
LOOK_BACK: Final = timedelta(hours=1)
# Of one task in one look; how many more there were is told with the newest.
TOLD_PER_TASK: Final = 3
CURSOR: Final = "missed-starts"


def find_missed_starts(now: datetime | None = None) -> int:
    """Look at the next TASKS_PER_LOOK scheduled tasks that a rule asks for; returns how many events were recorded or
    known. Nothing is told while the portal is blind: silence proves nothing then."""
    now = now or timezone.now()
    rules = [rule for rule in Rule.objects.filter(enabled=True) if EventType.TASK_MISSED_START in rule.event_types]
    since = sight_since(now)
    if not rules or since is None or now - since < timedelta(seconds=settings.LIVENESS_GRACE_S):
        return 0
    with transaction.atomic():
        cursor = RuleCursor.objects.select_for_update().get_or_create(name=CURSOR)[0]
        tasks = _next_tasks(int(cursor.cursor or 0))
        found = [event for task in tasks for event in _events(task, rules, now, since)]
        record_events(found)
        cursor.cursor = str(tasks[-1].pk) if len(tasks) == TASKS_PER_LOOK else ""
        cursor.looked_at = now
        cursor.save(update_fields=["cursor", "looked_at"])
    return len(found)


def _next_tasks(after: int) -> list[Task]:
    scheduled = Task.objects.filter(source_kind__in=SCHEDULED_KINDS, service__archived_at=None)
    return list(scheduled.select_related("service").filter(pk__gt=after).order_by("pk")[:TASKS_PER_LOOK])


def _events(task: Task, rules: Sequence[Rule], now: datetime, seen_since: datetime) -> Iterator[NewEvent]:
    """For each grace that a rule of this task has, what was missed by then."""
    asking = [rule for rule in rules if _asks_for(rule, task)]
    for grace_s in sorted({rule.missed_start_grace_s for rule in asking}):
        grace = timedelta(seconds=grace_s)
        # What was due before anybody asked, or while nobody could see, is not told.
        asked_since = min(rule.created_at for rule in asking if rule.missed_start_grace_s == grace_s)
        since = max(now - grace - LOOK_BACK, asked_since, seen_since)
        # The reader waits for GRACE itself.
        until = now - max(grace - GRACE, timedelta())
        if since >= until:
            continue
        try:
            missed = [start for start in missed_starts(task, since, until) if start.due_at + grace <= now]
            lost = lost_start(task, now)
        except (ScheduleInvalid, Invalid):
            return
        for start in missed[-TOLD_PER_TASK:]:
            left_out = len(missed) - TOLD_PER_TASK if start is missed[-1] else 0
            yield _event(task, start, grace_s, now, cause="not_started", more=max(0, left_out))
        if lost is not None and max(since, asked_since) <= lost.start.due_at <= now - grace:
            yield _event(task, lost.start, grace_s, now, cause="instance_offline", gone_at=lost.gone_at.isoformat())


def _asks_for(rule: Rule, task: Task) -> bool:
    """Whether the scope may hold the task; labels are asked when its event is matched."""
    service = task.service
    scopes = [(each["name"], each["environment"]) for each in rule.service_scopes]
    patterns = [each.strip() for each in rule.task_pattern.split(",") if each.strip()]
    return (
        (not scopes or (service.name, service.environment) in scopes)
        and (not rule.environments or service.environment in rule.environments)
        and (not patterns or any(fnmatch.fnmatchcase(task.name, each) for each in patterns))
    )


_SAID: Final = {
    "not_started": "No start was told of by then.",
    "instance_offline": "No instance is connected that could start it.",
}


def _event(task: Task, start: Start, grace_s: int, now: datetime, *, cause: str, **more: Any) -> NewEvent:
    whose = start.instance_id.hex if start.instance_id is not None else "any"
    return NewEvent(
        event_id=f"missed-{task.pk}-{start.due_at:%Y%m%dT%H%M%SZ}-{whose}-{grace_s}",
        kind=EventKind.TASK_MISSED_START,
        level=level_of(EventKind.TASK_MISSED_START),
        occurred_at=start.due_at + timedelta(seconds=grace_s),
        received_at=now,
        service_id=task.service_id,
        instance_id=start.instance_id,
        task_name=task.name,
        message=_SAID[cause],
        meta={
            "scheduled_at": start.scheduled_at.isoformat(),
            "grace_s": grace_s,
            "cause": cause,
            **{name: value for name, value in more.items() if value},
        },
    )
