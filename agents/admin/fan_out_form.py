"""Sending a command to whom a selector or a group means: the form, a page that asks again, and the sending.

Nothing is kept between the steps but what the forms carry. Whom the confirmed page showed is told by a fingerprint: a
fleet that changed meanwhile is shown anew. An id made for the confirmation keeps a second click from sending twice.
"""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext

from agents.admin.aiming import Asked, asked_in, posted
from agents.admin.columns import kind_label
from agents.admin.sending import (
    KIND_HINTS,
    OrderForm,
    choices_for_service,
    ensure_may_send,
    kinds_for,
    prefilled,
    typed,
)
from agents.models import Command, FanOut, Instance
from agents.models.command import DESTRUCTIVE_KINDS
from agents.selectors.presence import presences
from agents.services.errors import FanOutGiven, TargetsChanged
from agents.services.orders import Order
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from controlplane.console.formatting import admin_url
from tasks_app.models import Task
from tasks_app.services.fan_outs import Expected, Reach, expect_fan_out, fan_out_to

ORDER_FIELDS = ("kind", "task_name", "limit", "payload", "reason", "timeout_s", "hold")
TASKS_MAX = 300
SAMPLE = 20


def send_url(*parameters: tuple[str, str], **more: str) -> str:
    """The form for whom these parameters mean."""
    return f"{reverse('fan_out_send')}?{urlencode([*parameters, *more.items()])}"


def send_view(request: HttpRequest) -> HttpResponse:
    """GET: the form, or for a repetition the page that asks again. POST: that page, and once confirmed the sending."""
    if not kinds_for(request):
        raise PermissionDenied
    if request.method not in {"GET", "HEAD", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    given = request.POST if request.method == "POST" else request.GET
    try:
        asked = asked_in(given)
    except ControlPlaneError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("selector_lab"))
    try:
        if asked.fan_out is not None:
            return _confirm_or_send(request, asked, _order_of(asked.fan_out))
        if request.method != "POST":
            return _form(request, asked, _order_form(request, asked))
        return _posted(request, asked)
    except Unauthorized:
        return redirect_to_login_again(send_url(*asked.parameters, **typed(request)))
    except Forbidden as error:
        raise PermissionDenied(str(error)) from error
    except ControlPlaneError as error:
        # Nobody could be shown to whom it would go: an instance is gone, or more are meant than one order goes to.
        messages.error(request, str(error))
        repeated = asked.fan_out
        page = reverse("selector_lab") if repeated is None else admin_url("agents_fanout_change", repeated.pk)
        return HttpResponseRedirect(page)


def _posted(request: HttpRequest, asked: Asked) -> HttpResponse:
    form = _order_form(request, asked)
    status = 422
    if form.is_valid():
        try:
            return _confirm_or_send(request, asked, form.order())
        except Invalid as error:
            form.add_service_error(error)
        except Unauthorized:
            raise
        except ControlPlaneError as error:
            form.add_error(None, str(error))
            status = 403 if isinstance(error, Forbidden) else 409
    return _form(request, asked, form, status=status)


def _confirm_or_send(request: HttpRequest, asked: Asked, order: Order) -> HttpResponse:
    ensure_may_send(request, order.kind)
    actor = actor_of(request)
    if request.method != "POST" or "confirm" not in request.POST:
        return _confirmation(request, asked, order, expect_fan_out(asked.aim, order, actor=actor))
    fan_out_id = _uuid(request.POST.get("fan_out"))
    try:
        made = fan_out_to(
            asked.aim,
            order,
            actor=actor,
            fan_out_id=fan_out_id,
            fingerprint=request.POST.get("fingerprint", ""),
        )
    except FanOutGiven:
        return HttpResponseRedirect(admin_url("agents_fanout_change", fan_out_id))
    except TargetsChanged:
        messages.warning(request, gettext("The fleet changed meanwhile: these instances are meant now."))
        return _confirmation(request, asked, order, expect_fan_out(asked.aim, order, actor=actor))
    tell_sent(request, made.kept)
    return HttpResponseRedirect(admin_url("agents_fanout_change", made.kept.pk))


def tell_sent(request: HttpRequest, kept: FanOut) -> None:
    """The message above the page of a fan-out that was just given."""
    sent = kept.dispatched + kept.queued
    text = ngettext("%(kind)s: %(sent)d command made.", "%(kind)s: %(sent)d commands made.", sent)
    (messages.success if sent else messages.warning)(request, text % {"kind": kind_label(kept.kind), "sent": sent})


def _order_of(fan_out: FanOut) -> Order:
    """The same order once more."""
    return Order(
        kind=fan_out.kind,
        args=fan_out.args,
        timeout_s=fan_out.timeout_s,
        hold=fan_out.holds,
        reason=fan_out.reason,
    )


def _order_form(request: HttpRequest, asked: Asked) -> OrderForm:
    instance_ids = asked.aim.instances()
    rows = Task.objects.filter(service__in=Instance.objects.filter(pk__in=instance_ids).values("service"))
    names = rows.order_by("name").values_list("name", flat=True).distinct()[:TASKS_MAX]
    return OrderForm(
        request.POST if request.method == "POST" else None,
        initial=prefilled(request),
        choices=choices_for_service(names, kinds_for(request)),
        surface=Command.Surface.UNKNOWN,
    )


def _form(request: HttpRequest, asked: Asked, form: OrderForm, *, status: int = 200) -> HttpResponse:
    instance_ids = asked.aim.instances()
    context = {
        "title": gettext("Send a command"),
        "asked": asked,
        "form": form,
        "form_action": reverse("fan_out_send"),
        "carried": asked.parameters,
        "instance_count": len(instance_ids),
        "presences": _sample(instance_ids),
        "more": max(0, len(instance_ids) - SAMPLE),
    }
    return _page(request, "admin/agents/fanout/send.html", context, status)


def _confirmation(request: HttpRequest, asked: Asked, order: Order, expected: Expected) -> HttpResponse:
    instance_ids = [target.instance.pk for target in expected.targets]
    takes = sum(target.outcome in {"dispatched", "queued"} for target in expected.targets)
    context = {
        "title": gettext("Send this command?"),
        "asked": asked,
        "order": order,
        "kind_label": kind_label(order.kind),
        "hint": KIND_HINTS.get(order.kind, ""),
        "destructive": order.kind in DESTRUCTIVE_KINDS,
        "reach": Reach.of(expected.targets),
        "takes": takes,
        "reasons": expected.reasons,
        "carried": [
            *asked.parameters,
            *posted(request, *ORDER_FIELDS),
            ("fingerprint", expected.fingerprint),
            ("fan_out", str(uuid.uuid4())),
            ("confirm", "1"),
        ],
        "back": send_url(*asked.parameters, **typed(request)) if asked.fan_out is None else "",
        "presences": _sample(instance_ids),
        "more": max(0, len(instance_ids) - SAMPLE),
    }
    return _page(request, "admin/agents/fanout/confirm.html", context)


def _sample(instance_ids: list[uuid.UUID]) -> list[Any]:
    found = Instance.objects.select_related("service").in_bulk(instance_ids[:SAMPLE])
    return presences([found[key] for key in instance_ids[:SAMPLE] if key in found])


def _uuid(value: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(value or "")
    except ValueError:
        return None


def _page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    request.current_app = admin.site.name
    full = {**admin.site.each_context(request), "opts": FanOut._meta, "is_fullwidth": "1", **context}
    return TemplateResponse(request, template, full, status=status)
