"""List actions on instances: one order for those that were selected, after a page that asks again.

All rows of a narrowed list may be selected at once. Their ids are in no form then: the list is read again, and a
fingerprint holds the order to the instances that the page showed.
"""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from agents.admin.aiming import Asked
from agents.admin.blast_radius import SAMPLE, TYPED_FIELD, Blast, blast_of, sample_of
from agents.admin.fan_out_form import send_confirmed
from agents.admin.sending import ensure_may_send, reason_field, timeout_field
from agents.models import Command, Instance
from agents.models.command import DESTRUCTIVE_KINDS, REASON_KINDS, CommandKind
from agents.services.errors import TargetsChanged
from agents.services.orders import Order
from controlplane.access.actors import actor_of
from controlplane.access.policy import may_command
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from tasks_app.services import fan_outs
from tasks_app.services.fan_outs import Aim, expect_fan_out

TARGETS_MAX = fan_outs.TARGETS_MAX
# What stands for a reason before one was typed: what an order would meet does not depend on it.
_NO_REASON = "-"


class BulkForm(forms.Form):
    """What an action asks for before it sends."""

    reason = reason_field()
    timeout_s = timeout_field()

    def __init__(self, *args: Any, needs_reason: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = needs_reason


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
        instance_ids = list(queryset.order_by("node_name", "pk").values_list("pk", flat=True)[: TARGETS_MAX + 1])
        if len(instance_ids) > TARGETS_MAX:
            text = gettext("Select %d instances at most, or send the command to a group, a selector or their service.")
            messages.error(request, text % TARGETS_MAX)
            return None
        confirmed = "confirm" in request.POST
        form = BulkForm(request.POST if confirmed else None, needs_reason=kind in REASON_KINDS)
        asked = Asked(Aim.by_ids(instance_ids), [])
        problem = ""
        try:
            if confirmed and form.is_valid():
                answer = send_confirmed(request, asked, _order(kind, form))
                if isinstance(answer, HttpResponse):
                    return answer
                problem = answer
            return self._confirmation(request, asked, kind, form, problem)
        except TargetsChanged:
            problem = gettext("The fleet changed meanwhile: these instances are meant now.")
            return self._confirmation(request, asked, kind, form, problem)
        except Invalid as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
            return self._confirmation(request, asked, kind, form, problem)
        except ControlPlaneError as error:
            # One of them was forgotten meanwhile.
            messages.error(request, str(error))
            return None

    def _confirmation(
        self, request: HttpRequest, asked: Asked, kind: CommandKind, form: BulkForm, problem: str
    ) -> HttpResponse:
        """The page that shows what the order would meet, and sends nothing."""
        order = Order(kind=kind, reason=_NO_REASON, surface=Command.Surface.INSTANCE)
        expected = expect_fan_out(asked.aim, order, actor=actor_of(request))
        blast: Blast = blast_of(asked, order, expected)
        instance_ids = [target.instance.pk for target in expected.targets]
        across = request.POST.get("select_across") == "1"
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": kind.label,
            "kind": kind.value,
            "blast": blast,
            "destructive": blast.is_destructive,
            "ready": blast.reach.dispatched,
            "presences": sample_of(instance_ids),
            "more": max(0, len(instance_ids) - SAMPLE),
            "form": form,
            "typed": request.POST.get(TYPED_FIELD, ""),
            "problem": problem,
            "carried": [
                ("action", f"send_{kind.value}"),
                ("confirm", "1"),
                ("fingerprint", expected.fingerprint),
                ("fan_out", str(uuid.uuid4())),
                *([("select_across", "1")] if across else []),
                # Django asks for one row at least, also where all are meant.
                *((ACTION_CHECKBOX_NAME, str(pk)) for pk in (instance_ids[:1] if across else instance_ids)),
            ],
        }
        return TemplateResponse(
            request, "admin/agents/instance/confirm.html", context, status=422 if problem or form.errors else 200
        )


def _order(kind: CommandKind, form: BulkForm) -> Order:
    return Order(
        kind=kind,
        timeout_s=form.cleaned_data["timeout_s"],
        reason=form.cleaned_data["reason"],
        surface=Command.Surface.INSTANCE,
    )
