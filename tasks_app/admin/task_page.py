"""What the page of one task shows: figures over a window, its schedule, its instances, and the form of an order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from agents.admin.sending import (
    TASK_BUTTONS,
    Choices,
    OrderForm,
    choices_for_instance,
    control_state,
    kinds_for,
    prefilled,
)
from agents.models import Command, Event
from agents.models.command import CommandKind
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.selectors.events import TASK_EVENT_KINDS, events_so_far
from agents.selectors.presence import presences
from controlplane.common.database import statements_within
from controlplane.common.errors import Invalid
from controlplane.console.formatting import admin_url
from tasks_app.models import Task, TaskControls
from tasks_app.schedules import ScheduleInvalid
from tasks_app.selectors.durations import Durations
from tasks_app.selectors.series import (
    READ_MAX_MS,
    WINDOW_DEFAULT,
    WINDOWS,
    Scope,
    counts_by_instance,
    durations_by_instance,
    total_counts,
    total_durations,
)
from tasks_app.selectors.starts import missed_starts, outlook

INSTANCES_SHOWN: Final = 50
EVENTS_SHOWN: Final = 20
COMMANDS_SHOWN: Final = 10
NEXT_STARTS_SHOWN: Final = 5
MISSED_STARTS_SHOWN: Final = 5
MISSED_WITHIN: Final = timedelta(hours=24)
TRACEBACK_SHOWN_MAX_CHARS: Final = 20_000
# A payload that is proposed again; a larger one has to be found in its command.
PAYLOAD_PROPOSED_MAX_CHARS: Final = 20_000
OUTCOMES: Final[Mapping[str, tuple[Any, str]]] = {
    "failed": (_("Failed"), EventKind.TASK_FAILED.value),
    "retried": (_("Retried"), EventKind.TASK_RETRIED.value),
    "dead_lettered": (_("Dead letters"), EventKind.TASK_DEAD_LETTERED.value),
}
# As the picker of the charts calls them.
WINDOW_WORDS: Final[Mapping[str, Any]] = {
    "1h": _("1 hour"),
    "6h": _("6 hours"),
    "24h": _("24 hours"),
    "7d": _("7 days"),
}


def live_context(request: HttpRequest, task: Task) -> dict[str, Any]:
    """What changes while the page is open. Seven queries."""
    chosen = request.GET.get("outcome", "")
    chosen = chosen if chosen in OUTCOMES else ""
    window = request.GET.get("window", "")
    window = window if window in WINDOWS else ""
    kept = {name: value for name, value in (("window", window), ("outcome", chosen)) if value}
    return {
        "rows": instance_rows(request, task),
        "outcome": chosen,
        "window_asked": window,
        # What the live part is asked with, so that its links go on from what was chosen.
        "live_query": f"?{urlencode(kept)}" if kept else "",
        "outcomes": [("", _("All")), *((key, label) for key, (label, _kind) in OUTCOMES.items())],
        "events": _events(task, chosen),
        "commands": Command.objects.filter(service=task.service_id, task_name=task.name)
        .select_related("instance")
        .defer("args", "result")
        .order_by("-created_at", "-id")[:COMMANDS_SHOWN],
    }


def _events(task: Task, outcome: str) -> list[Event]:
    kinds = (OUTCOMES[outcome][1],) if outcome else TASK_EVENT_KINDS
    rows: Any = (
        events_so_far()
        .filter(service=task.service_id, task_name=task.name, kind__in=kinds)
        .exclude(task_name="")
        .select_related("instance")
        .defer("meta")
        .order_by("-occurred_at", "-id")[:EVENTS_SHOWN]
    )
    events = list(rows)
    for event in events:
        text = event.traceback.strip()
        event.last_line = text.splitlines()[-1] if text else ""
        event.traceback = text[-TRACEBACK_SHOWN_MAX_CHARS:]
    return events


def instance_rows(request: HttpRequest, task: Task) -> list[dict[str, Any]]:
    """The instances of the task's service, online ones first, with their controls and what they would take now."""
    instances = list(
        task.service.instances.filter(archived_at=None)
        .exclude(connectivity=Connectivity.NEVER_REPORTED)
        .order_by("-connectivity", "node_name", "pk")[:INSTANCES_SHOWN]
    )
    controls = TaskControls.objects.in_bulk([instance.pk for instance in instances])
    allowed = kinds_for(request)
    rows: list[dict[str, Any]] = []
    for here in presences(instances):
        instance = here.instance
        stored = controls.get(instance.pk)
        entry: Mapping[str, Any] = next(
            (each for each in (stored.controls if stored else ()) if each["task_name"] == task.name), {}
        )
        choices = _of_task(choices_for_instance(here.session, None, stored, allowed), task.name)
        rows.append(
            {
                "instance": instance,
                "presence": here,
                "control": entry or None,
                # A drained agent still reports its tasks as running.
                "state": "drained" if here.drain else control_state(entry),
                "reported_at": stored.updated_at if stored else None,
                "choices": choices,
                "actions": _buttons(task, instance.pk, choices, entry),
            }
        )
    return rows


def _of_task(choices: Choices, name: str) -> Choices:
    kinds = tuple(choices.kinds_of_task(name))
    return replace(choices, kinds=kinds, tasks=dict.fromkeys(kinds, (name,)))


def _buttons(task: Task, instance_id: object, choices: Choices, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A button per command that the task would take there now; none to pause what is paused already."""
    paused = bool(entry.get("paused") or entry.get("pause_requested"))
    useless = CommandKind.PAUSE_TASK if paused else CommandKind.RESUME_TASK
    return [
        {
            "label": TASK_BUTTONS[kind],
            "title": CommandKind(kind).label,
            "url": admin_url("tasks_app_task_change", task.pk, instance=instance_id, kind=kind) + "#send",
        }
        for kind in choices.kinds
        if kind != useless
    ]


def chosen_row(rows: Sequence[dict[str, Any]], instance_id: str) -> dict[str, Any] | None:
    """The row of that instance, where the requester may order anything of it."""
    return next((row for row in rows if str(row["instance"].pk) == instance_id and row["choices"].kinds), None)


def order_context(request: HttpRequest, task: Task, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The form for the instance that a button named; without one, no form. One query at most."""
    row = chosen_row(rows, request.GET.get("instance", ""))
    if row is None:
        return {"form": None, "form_action": admin_url("tasks_app_task_send", task.pk)}
    initial = {"task_name": task.name, **prefilled(request)}
    if initial.get("kind") == CommandKind.RUN_TASK_ONCE and "payload" not in initial:
        initial["payload"] = _last_payload(task)
    return {
        "form": OrderForm(initial=initial, choices=row["choices"], surface=Command.Surface.TASK),
        "form_row": row,
        "form_open": True,
        "carried": [("instance", row["instance"].pk)],
        "form_action": admin_url("tasks_app_task_send", task.pk),
    }


def _last_payload(task: Task) -> str:
    """The payload of the newest run that was ordered, as JSON; "" where there is none, or a very large one."""
    args = (
        Command.objects.filter(service=task.service_id, task_name=task.name, kind=CommandKind.RUN_TASK_ONCE)
        .exclude(task_name="")
        .order_by("-created_at")
        .values_list("args", flat=True)
        .first()
    )
    payload = (args or {}).get("payload")
    text = json.dumps(payload, indent=2, ensure_ascii=False) if payload else ""
    return text if len(text) <= PAYLOAD_PROPOSED_MAX_CHARS else ""


def figures_context(request: HttpRequest, task: Task, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the window that was chosen and of the one before. Eight queries at most, under one limit of time."""
    window = WINDOWS.get(request.GET.get("window", ""), WINDOWS[WINDOW_DEFAULT])
    scope, now = Scope(task=task), timezone.now()
    begin = now - window.length
    figures: dict[str, Any] = {"window": window.key, "window_words": WINDOW_WORDS[window.key], "figures_too_much": ""}
    try:
        with statements_within(READ_MAX_MS):
            for name, since, until in (("now", begin, now), ("before", begin - window.length, begin)):
                figures[f"counts_{name}"] = total_counts(scope, since, until)
                figures[f"durations_{name}"] = total_durations(scope, since, until)
            by_instance = counts_by_instance(scope, begin, now)
            durations = durations_by_instance(scope, begin, now)
    except Invalid as error:
        figures["figures_too_much"], by_instance = str(error), {}
        durations = {}
    figures["by_instance"] = [
        (row["instance"], by_instance[row["instance"].pk], durations.get(row["instance"].pk, Durations()))
        for row in rows
        if row["instance"].pk in by_instance
    ]
    return figures


def schedule_context(task: Task) -> dict[str, Any]:
    """The next starts and the last missed ones, or why they cannot be told. Ten queries at most."""
    now = timezone.now()
    try:
        told = outlook(task, now=now, count=NEXT_STARTS_SHOWN)
        missed = missed_starts(task, now - MISSED_WITHIN, now) if told else []
    except ScheduleInvalid as error:
        return {"schedule": None, "schedule_unknown": str(error), "is_scheduled": True}
    return {
        "schedule": told,
        "schedule_unknown": "",
        "is_scheduled": told is not None,
        "missed": missed[: -MISSED_STARTS_SHOWN - 1 : -1],
        "missed_count": len(missed),
    }
