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
from agents.admin.blast_radius import SAMPLE, TYPED_FIELD, Blast, blast_of, sample_of
from agents.admin.columns import kind_label
from agents.admin.sending import (
    OrderForm,
    choices_for_service,
    ensure_may_send,
    kinds_for,
    prefilled,
    typed,
)
from agents.models import Command, FanOut, Instance
from agents.selectors.fan_outs import RETRIABLE_STATES
from agents.services.errors import FanOutGiven, TargetsChanged
from agents.services.orders import Order
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from controlplane.console.formatting import admin_url
from tasks_app.models import Task
from tasks_app.services.fan_outs import Expected, expect_fan_out, fan_out_to

ORDER_FIELDS = ("kind", "task_name", "limit", "payload", "reason", "timeout_s", "hold")
TASKS_MAX = 300


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
        if asked.aim.service is not None:
            return HttpResponseRedirect(admin_url("agents_service_change", asked.aim.service.pk))
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
    problem = ""
    if request.method == "POST" and "confirm" in request.POST:
        try:
            answer = send_confirmed(request, asked, order)
        except TargetsChanged:
            messages.warning(request, gettext("The fleet changed meanwhile: these instances are meant now."))
        else:
            if isinstance(answer, HttpResponse):
                return answer
            problem = answer
    expected = expect_fan_out(asked.aim, order, actor=actor_of(request))
    return confirmation(request, asked, order, expected, problem=problem)


def send_confirmed(request: HttpRequest, asked: Asked, order: Order) -> HttpResponse | str:
    """Send what a page that asks again has confirmed: leads to where it is shown, or says what is wrong with what was
    typed. Sends nothing a second time. Raises TargetsChanged where others are meant than that page showed."""
    actor = actor_of(request)
    fan_out_id = _uuid(request.POST.get("fan_out"))
    if fan_out_id is not None and FanOut.objects.filter(pk=fan_out_id).exists():
        # A second click: what was sent is shown, whatever was typed.
        return HttpResponseRedirect(admin_url("agents_fanout_change", fan_out_id))
    blast = blast_of(asked, order, expect_fan_out(asked.aim, order, actor=actor))
    if problem := blast.problem_with(request.POST.get(TYPED_FIELD, "")):
        return problem
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
    if asked.aim.service is not None:
        rows = Task.objects.filter(service=asked.aim.service)
    else:
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
        "presences": sample_of(instance_ids),
        "more": max(0, len(instance_ids) - SAMPLE),
    }
    return _page(request, "admin/agents/fanout/send.html", context, status)


def confirmation(
    request: HttpRequest, asked: Asked, order: Order, expected: Expected, *, problem: str = ""
) -> HttpResponse:
    """The page that shows what the order would meet, and sends nothing."""
    blast = blast_of(asked, order, expected)
    instance_ids = [target.instance.pk for target in expected.targets]
    context = {
        "title": gettext("Send this command?"),
        "asked": asked,
        "order": order,
        "blast": blast,
        "reach": blast.reach,
        "takes": blast.takes,
        "destructive": blast.is_destructive,
        "carried": [
            *asked.parameters,
            *posted(request, *ORDER_FIELDS),
            ("fingerprint", _fingerprint(asked, blast.is_destructive, expected)),
            ("fan_out", str(uuid.uuid4())),
            ("confirm", "1"),
        ],
        "typed": request.POST.get(TYPED_FIELD, ""),
        "problem": problem,
        "back": _back(request, asked),
        "retry_states": _retry_states(asked, blast),
        "presences": sample_of(instance_ids),
        "more": max(0, len(instance_ids) - SAMPLE),
    }
    return _page(request, "admin/agents/fanout/confirm.html", context, 422 if problem else 200)


def _fingerprint(asked: Asked, destructive: bool, expected: Expected) -> str:
    """What holds the order to the instances that the page showed. Whoever means all that are online means those that
    are when it is sent: in a large service somebody always comes or goes. What stops instances is held to the list.
    """
    of_whoever_is_online = asked.aim.service is not None and asked.aim.instance_ids is None
    return "" if of_whoever_is_online and not destructive else expected.fingerprint


def _back(request: HttpRequest, asked: Asked) -> str:
    if asked.fan_out is not None:
        return admin_url("agents_fanout_change", asked.fan_out.pk)
    if asked.aim.service is not None:
        return f"{admin_url('agents_service_change', asked.aim.service.pk, **typed(request))}#send"
    return send_url(*asked.parameters, **typed(request))


def _retry_states(asked: Asked, blast: Blast) -> list[tuple[str, int, bool]]:
    """For a repetition, the states that it may be for, as (state, how many, chosen)."""
    if asked.fan_out is None or blast.last is None:
        return []
    # The last time is the one that is repeated.
    counts = blast.last.standing.retriable
    return [
        (state, counts[state], not asked.only or state in asked.only) for state in RETRIABLE_STATES if counts[state]
    ]


def _uuid(value: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(value or "")
    except ValueError:
        return None


def _page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    request.current_app = admin.site.name
    full = {**admin.site.each_context(request), "opts": FanOut._meta, "is_fullwidth": "1", **context}
    return TemplateResponse(request, template, full, status=status)
