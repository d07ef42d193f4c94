"""List actions on instances: one order for those that were selected, after a page that asks again."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from agents.admin.fan_out_form import tell_sent
from agents.admin.sending import KIND_HINTS, ensure_may_send, reason_field, timeout_field
from agents.models import Command, FanOut, Instance
from agents.models.command import DESTRUCTIVE_KINDS, REASON_KINDS, CommandKind
from agents.selectors.presence import presences
from agents.selectors.targets import TargetState, target_states
from agents.services.commands import accepts
from agents.services.orders import Order
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from controlplane.console.formatting import admin_url
from tasks_app.services.fan_outs import Aim, fan_out_to

# More than this is no longer a choice by hand.
TARGETS_MAX = 200


class BulkForm(forms.Form):
    """What an action asks for before it sends."""

    reason = reason_field()
    timeout_s = timeout_field()

    def __init__(self, *args: Any, needs_reason: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = needs_reason


def _takes(state: TargetState, kind: CommandKind) -> bool:
    return state.session is not None and accepts(state.session.accepted_capabilities, kind)


def _action(kind: CommandKind) -> Callable[..., HttpResponse | None]:
    permission = "send_destructive_command" if kind in DESTRUCTIVE_KINDS else "send_command"

    @admin.action(description=kind.label, permissions=[permission])
    def act(self: "BulkCommandMixin", request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return self.confirm_and_send(request, queryset, kind)

    act.__name__ = f"send_{kind.value}"
    return act


class BulkCommandMixin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds the actions to the admin of instances."""

    actions: tuple[str, ...] = (
        "send_ping",
        "send_sync_now",
        "send_flush_metrics",
        "send_flush_events",
        "send_drain",
        "send_restart",
        "send_shutdown",
    )

    send_ping = _action(CommandKind.PING)
    send_sync_now = _action(CommandKind.SYNC_NOW)
    send_flush_metrics = _action(CommandKind.FLUSH_METRICS)
    send_flush_events = _action(CommandKind.FLUSH_EVENTS)
    send_drain = _action(CommandKind.DRAIN)
    send_restart = _action(CommandKind.RESTART)
    send_shutdown = _action(CommandKind.SHUTDOWN)

    def has_send_command_permission(self, request: HttpRequest) -> bool:
        return may_command(request, destructive=False)

    def has_send_destructive_command_permission(self, request: HttpRequest) -> bool:
        return may_command(request, destructive=True)

    def confirm_and_send(
        self, request: HttpRequest, queryset: QuerySet[Instance], kind: CommandKind
    ) -> HttpResponse | None:
        """The page that asks again; once confirmed, sends and leads to the page that tells what became of it."""
        try:
            ensure_may_send(request, kind)
        except Unauthorized:
            return redirect_to_login_again(request.get_full_path())
        except Forbidden as error:
            messages.error(request, str(error))
            return None
        instances = list(queryset.select_related("service")[: TARGETS_MAX + 1])
        if len(instances) > TARGETS_MAX:
            text = gettext("Select %d instances at most, or send the command to a group, a selector or their service.")
            messages.error(request, text % TARGETS_MAX)
            return None
        confirmed = "confirm" in request.POST
        form = BulkForm(request.POST if confirmed else None, needs_reason=kind in REASON_KINDS)
        if confirmed and form.is_valid():
            try:
                kept = self._send(request, instances, kind, form)
            except Invalid as error:
                form.add_error(error.field if error.field in form.fields else None, str(error))
            except ControlPlaneError as error:
                # One of them was forgotten meanwhile.
                messages.error(request, str(error))
                return None
            else:
                tell_sent(request, kept)
                return HttpResponseRedirect(admin_url("agents_fanout_change", kept.pk))
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": kind.label,
            "kind": kind.value,
            "hint": KIND_HINTS[kind],
            "destructive": kind in DESTRUCTIVE_KINDS,
            "presences": presences(instances),
            "ready": sum(1 for state in target_states(instances) if state.is_live and _takes(state, kind)),
            "form": form,
            "action": f"send_{kind.value}",
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/agents/instance/confirm.html", context)

    @staticmethod
    def _send(request: HttpRequest, instances: list[Instance], kind: CommandKind, form: BulkForm) -> FanOut:
        order = Order(
            kind=kind,
            timeout_s=form.cleaned_data["timeout_s"],
            reason=form.cleaned_data["reason"],
            surface=Command.Surface.INSTANCE,
        )
        aim = Aim.by_ids([instance.pk for instance in instances])
        return fan_out_to(aim, order, actor=actor_of(request)).kept
