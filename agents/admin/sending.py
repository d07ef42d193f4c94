"""Ordering commands from the console: who may, what an instance would take, the form, and the way to the services."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    CHECKBOX_CLASSES,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from agents.models import Instance, Session
from agents.models.command import DESTRUCTIVE_KINDS, HOLDABLE_KINDS, REASON_KINDS, TASK_KINDS, CommandKind
from agents.services.orders import REASON_MAX_LENGTH, Order
from controlplane.access.policy import ensure_may_command, may_command
from controlplane.common.errors import Forbidden, Invalid
from controlplane.console.formatting import admin_url
from tasks_app.models import TaskControls

LIMIT_KINDS = frozenset({CommandKind.REPLAY_DEAD_LETTERS, CommandKind.DISCARD_DEAD_LETTERS})
DEAD_LETTER_LIMIT_DEFAULT = 10
HOLD_TIMEOUT_S = 3600

# What each kind does, said next to the form before it is sent.
KIND_HINTS: Mapping[str, Any] = {
    CommandKind.PING: _("Asks for an answer; changes nothing."),
    CommandKind.SYNC_NOW: _("Sends the topology again."),
    CommandKind.FLUSH_METRICS: _("Sends collected metrics now instead of at the next interval."),
    CommandKind.FLUSH_EVENTS: _("Sends collected events now instead of at the next interval."),
    CommandKind.PAUSE_TASK: _("The task takes no new work; what runs is finished."),
    CommandKind.RESUME_TASK: _("The task takes work again."),
    CommandKind.RESTART_TASK: _("Stops the task's runners and starts new ones."),
    CommandKind.RUN_TASK_ONCE: _("Runs the task now, outside its schedule, with this payload."),
    CommandKind.REPLAY_DEAD_LETTERS: _("Puts dead letters back to the source, so that they are tried again."),
    CommandKind.DISCARD_DEAD_LETTERS: _("Deletes dead letters for good."),
    CommandKind.DRAIN: _("High risk: the whole instance takes no new work until it is restarted."),
    CommandKind.RESTART: _("High risk: the process ends; its supervisor must start it again."),
    CommandKind.SHUTDOWN: _("High risk: the process ends, and only someone at its host can start it again."),
}

# What the buttons next to a task say: the task is in the same row.
TASK_BUTTONS: Mapping[str, Any] = {
    CommandKind.PAUSE_TASK: _("Pause"),
    CommandKind.RESUME_TASK: _("Resume"),
    CommandKind.RESTART_TASK: _("Restart"),
    CommandKind.RUN_TASK_ONCE: _("Run once"),
    CommandKind.REPLAY_DEAD_LETTERS: _("Replay"),
    CommandKind.DISCARD_DEAD_LETTERS: _("Discard"),
}


def kinds_for(request: HttpRequest) -> frozenset[str]:
    """The kinds that the requester's role allows at all."""
    if not may_command(request, destructive=False):
        return frozenset()
    kinds = frozenset(CommandKind.values)
    return kinds if may_command(request, destructive=True) else kinds - DESTRUCTIVE_KINDS


def ensure_may_send(request: HttpRequest, kind: str) -> None:
    """Raises Forbidden, or Unauthorized where the login is too old for a command that stops an instance."""
    try:
        ensure_may_command(request, destructive=kind in DESTRUCTIVE_KINDS)
    except Forbidden as error:
        raise Forbidden(gettext("Your role does not allow this command.")) from error


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be offered: the kinds in the order of CommandKind, and per task kind the names of tasks that take it."""

    kinds: tuple[str, ...] = ()
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    connected: bool = False

    @property
    def task_names(self) -> list[str]:
        return sorted({name for names in self.tasks.values() for name in names})

    def kinds_of_task(self, name: str) -> list[str]:
        return [kind for kind in self.kinds if name in self.tasks.get(kind, ())]


def choices_for_instance(
    session: Session | None, last_session: Session | None, controls: TaskControls | None, allowed: frozenset[str]
) -> Choices:
    """What the instance would take now; without an active session, what may wait until it connects again."""
    known = session or last_session
    if known is None:
        return Choices()
    accepted = {kind for kind in allowed if f"command.{kind}" in known.accepted_capabilities}
    if session is None:
        accepted &= HOLDABLE_KINDS
    tasks: dict[str, tuple[str, ...]] = {}
    for kind in accepted & TASK_KINDS:
        names = tuple(
            entry["task_name"]
            for entry in (controls.controls if controls else ())
            if kind in entry.get("supported_commands", ())
        )
        if names:
            tasks[kind] = names
    kinds = tuple(kind for kind in CommandKind.values if kind in accepted and (kind not in TASK_KINDS or kind in tasks))
    return Choices(kinds=kinds, tasks=tasks, connected=session is not None)


def choices_for_service(task_names: Iterable[str], allowed: frozenset[str]) -> Choices:
    """What may be ordered of many: everything but shutdown. Each target decides for itself whether it can."""
    names = tuple(task_names)
    kinds = tuple(
        kind
        for kind in CommandKind.values
        if kind in allowed and kind != CommandKind.SHUTDOWN and (kind not in TASK_KINDS or names)
    )
    return Choices(kinds=kinds, tasks={kind: names for kind in kinds if kind in TASK_KINDS}, connected=True)


@dataclass(frozen=True, slots=True)
class TaskButton:
    """Leads to the form of an instance, filled in for one task."""

    label: Any
    title: Any
    url: str


def task_buttons(instance: Instance, task_name: str, choices: Choices, control: Mapping[str, Any]) -> list[TaskButton]:
    """A button per command that the task would take on that instance now; none to pause what is paused already."""
    paused = bool(control.get("paused") or control.get("pause_requested"))
    useless = CommandKind.PAUSE_TASK if paused else CommandKind.RESUME_TASK
    return [
        TaskButton(
            label=TASK_BUTTONS[kind],
            title=CommandKind(kind).label,
            url=admin_url("agents_instance_change", instance.pk, kind=kind, task_name=task_name) + "#send",
        )
        for kind in choices.kinds_of_task(task_name)
        if kind != useless
    ]


def control_state(control: Mapping[str, Any]) -> str:
    """`running`, `pausing` or `paused`, by what an instance last said of a task."""
    if control.get("paused"):
        return "paused"
    return "pausing" if control.get("pause_requested") else "running"


def reason_field() -> forms.CharField:
    return forms.CharField(
        label=_("Reason"),
        max_length=REASON_MAX_LENGTH,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Kept in the history with your name."),
    )


def timeout_field(*, help_text: Any = "") -> forms.IntegerField:
    """`help_text` is text or its lazy translation."""
    return forms.IntegerField(
        label=_("Timeout (s)"),
        min_value=1,
        max_value=settings.COMMAND_TIMEOUT_MAX_S,
        initial=settings.COMMAND_TIMEOUT_DEFAULT_S,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=help_text,
    )


class OrderForm(forms.Form):
    """One order. Every field is on the page for whichever kind; forms.js shows those of the chosen kind."""

    kind = forms.ChoiceField(label=_("Command"), widget=UnfoldAdminSelectWidget)
    task_name = forms.ChoiceField(label=_("Task"), required=False, widget=UnfoldAdminSelectWidget)
    limit = forms.IntegerField(
        label=_("Limit"),
        min_value=1,
        required=False,
        initial=DEAD_LETTER_LIMIT_DEFAULT,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text=_("How many dead letters at most."),
    )
    payload = forms.CharField(
        label=_("Payload"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false", "placeholder": "{}"}),
        help_text=_("A JSON object."),
    )
    reason = reason_field()
    timeout_s = timeout_field(help_text=_("From now until the result; a held command expires then too."))
    hold = forms.BooleanField(
        label=_("Hold until it reconnects"),
        required=False,
        widget=forms.CheckboxInput(attrs={"class": " ".join(CHECKBOX_CLASSES)}),
        help_text=_("Send it when the instance connects, if it is not connected now."),
    )

    def __init__(self, *args: Any, choices: Choices, surface: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choices = choices
        self.surface = surface
        self.fields["kind"].choices = [  # type: ignore[attr-defined]
            ("", _("Choose…")),
            *((kind, CommandKind(kind).label) for kind in choices.kinds),
        ]
        self.fields["task_name"].choices = [  # type: ignore[attr-defined]
            ("", _("Choose…")),
            *((name, name) for name in choices.task_names),
        ]
        if not choices.connected:
            self.fields["hold"].initial = True
            self.fields["timeout_s"].initial = self.hold_timeout_s

    @property
    def hold_timeout_s(self) -> int:
        """What to propose for a command that waits: an instance that is away is not back within seconds."""
        return int(min(HOLD_TIMEOUT_S, settings.COMMAND_TIMEOUT_MAX_S))

    @property
    def hints(self) -> list[tuple[str, Any]]:
        return [(kind, KIND_HINTS[kind]) for kind in self.choices.kinds]

    @property
    def kind_buttons(self) -> list[tuple[str, Any, bool]]:
        """Each kind with its words, and whether it stops an instance."""
        return [(kind, CommandKind(kind).label, kind in DESTRUCTIVE_KINDS) for kind in self.choices.kinds]

    @property
    def chosen_kind(self) -> str:
        """The kind that is chosen; where there is but one, that."""
        kinds = self.choices.kinds
        return str(self["kind"].value() or (kinds[0] if len(kinds) == 1 else ""))

    @property
    def field_kinds(self) -> dict[str, str]:
        """Per field that is not for every kind, the kinds that it is for, separated by spaces."""
        return {
            "task_name": " ".join(sorted(TASK_KINDS)),
            "limit": " ".join(sorted(LIMIT_KINDS)),
            "payload": CommandKind.RUN_TASK_ONCE,
            "hold": " ".join(sorted(HOLDABLE_KINDS)),
        }

    @property
    def shown_fields(self) -> list[tuple[forms.BoundField, str]]:
        """The fields in order, each with the kinds that it is for ("" for every kind)."""
        return [(bound, self.field_kinds.get(bound.name, "")) for bound in self]

    @property
    def reason_kinds(self) -> str:
        return " ".join(sorted(REASON_KINDS))

    @property
    def task_kinds(self) -> str:
        """Which tasks take which kind, for console.js."""
        return json.dumps({kind: list(names) for kind, names in self.choices.tasks.items()})

    @property
    def destructive_kinds(self) -> str:
        return " ".join(sorted(DESTRUCTIVE_KINDS & set(self.choices.kinds)))

    def clean_payload(self) -> dict[str, object]:
        text = self.cleaned_data["payload"].strip()
        if self.data.get("kind") != CommandKind.RUN_TASK_ONCE or not text:
            return {}
        try:
            payload = json.loads(text)
        except ValueError as error:
            raise forms.ValidationError(_not_json(error)) from error
        except RecursionError as error:
            raise forms.ValidationError(_("This is nested too deeply.")) from error
        if not isinstance(payload, dict):
            raise forms.ValidationError(_('The payload must be a JSON object, as in {"key": 1}.'))
        return payload

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        kind = data.get("kind")
        if kind in REASON_KINDS and not data.get("reason", "").strip() and "reason" not in self.errors:
            self.add_error("reason", _("This command needs a reason."))
        if kind in TASK_KINDS and not data.get("task_name") and "task_name" not in self.errors:
            self.add_error("task_name", _("Choose the task."))
        return data

    def order(self) -> Order:
        """The order that a valid form stands for."""
        data = self.cleaned_data
        kind = data["kind"]
        args: dict[str, object] = {}
        if kind in TASK_KINDS:
            args["task_name"] = data["task_name"]
        if kind in LIMIT_KINDS:
            args["limit"] = data["limit"] or DEAD_LETTER_LIMIT_DEFAULT
        if kind == CommandKind.RUN_TASK_ONCE:
            args["payload"] = data["payload"]
        return Order(
            kind=kind,
            args=args,
            timeout_s=data["timeout_s"],
            hold=data["hold"] and kind in HOLDABLE_KINDS,
            reason=data["reason"],
            surface=self.surface,
        )

    def add_service_error(self, error: Invalid) -> None:
        """Show what a service refused next to the field that it names."""
        name = error.field.removeprefix("args.")
        self.add_error(name if name in self.fields else None, str(error))


_NAMES: Final = ("kind", "task_name", "limit", "payload", "reason", "timeout_s")


def prefilled(request: HttpRequest) -> dict[str, str]:
    """Initial values of an OrderForm from the query string: buttons and the step-up login lead here with them."""
    return {name: value for name in _NAMES if (value := request.GET.get(name))}


def typed(request: HttpRequest) -> dict[str, str]:
    """What was typed into an OrderForm, short enough for the query string of the way back from the step-up login.

    Payloads may hold what no log of addresses should: orders that ask for a login have none.
    """
    names = [name for name in _NAMES if name != "payload" or request.POST.get("kind") not in DESTRUCTIVE_KINDS]
    return {name: value for name in names if (value := request.POST.get(name)) and len(value) <= 2000}


def _not_json(error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return gettext("This is not JSON.")
    place = {"line": error.lineno, "column": error.colno}
    return gettext("This is not JSON: line %(line)d, character %(column)d.") % place
