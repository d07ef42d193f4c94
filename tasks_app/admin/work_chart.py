"""The figures of work over time, as charts of the console ask for them: admin/charts/work/."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from agents.models import Instance, Service
from controlplane.common.errors import Invalid
from controlplane.console.charts import Chart, Line, chart_response
from tasks_app.models import Task
from tasks_app.selectors.series import (
    WINDOW_DEFAULT,
    WINDOWS,
    CountSeries,
    Scope,
    WorkWindow,
    count_series,
    latency_series,
)

FIGURES: Final = ("throughput", "failures", "latency")
_BIGGEST_PK: Final = 2**63 - 1
M = TypeVar("M", bound=Model)


@require_GET
def work_chart(request: HttpRequest) -> HttpResponse:
    """`figure`, `window`, and any of `service`, `instance`, `task`; what cannot be read is a 422 that says why.

    Four queries at most besides those of the login.
    """
    if not request.user.has_perm("tasks_app.view_task"):
        raise PermissionDenied
    try:
        chart, read_at = _chart(request)
    except Invalid as error:
        return JsonResponse({"error": str(error), "field": error.field}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return chart_response(chart, at=read_at)


def _chart(request: HttpRequest) -> tuple[Chart, datetime]:
    figure = request.GET.get("figure") or FIGURES[0]
    if figure not in FIGURES:
        raise Invalid(gettext("There is no such figure; choose one of %s.") % ", ".join(FIGURES), field="figure")
    window = WINDOWS.get(request.GET.get("window") or WINDOW_DEFAULT)
    if window is None:
        raise Invalid(gettext("There is no such window; choose one of %s.") % ", ".join(WINDOWS), field="window")
    scope = scope_of(request)
    return _latency(scope, window) if figure == "latency" else _counted(figure, scope, window)


def scope_of(request: HttpRequest) -> Scope:
    """Whose work a request asks for. Raises Invalid where it names what is not there, or what does not belong."""
    service = _named(request, "service", Service.objects.all())
    instance = _named(request, "instance", Instance.objects.select_related("service"))
    task = _named(request, "task", Task.objects.select_related("service"))
    scope = Scope(service=service, instance=instance, task=task)
    told = {row.pk for row in (service, instance and instance.service, task and task.service) if row}
    if len(told) > 1:
        raise Invalid(gettext("The service, the instance and the task do not belong together."), field="service")
    return scope


def _named(request: HttpRequest, name: str, rows: QuerySet[M]) -> M | None:
    told = request.GET.get(name)
    if not told:
        return None
    try:
        key: UUID | int = UUID(told) if name == "instance" else int(told)
    except ValueError as error:
        raise Invalid(gettext("%s is not an id.") % name, field=name) from error
    found = rows.filter(pk=key).first() if isinstance(key, UUID) or 0 < key <= _BIGGEST_PK else None
    if found is None:
        raise Invalid(gettext("There is nothing with the id in %s.") % name, field=name)
    return found


def _counted(figure: str, scope: Scope, window: WorkWindow) -> tuple[Chart, datetime]:
    series = count_series(scope, window, now=timezone.now())
    if figure == "throughput":
        lines = [
            _line(series, "started", _("Started"), "busy"),
            _line(series, "succeeded", _("Succeeded"), "good"),
        ]
    else:
        lines = [
            _line(series, "failed", _("Failed for good"), "bad"),
            _line(series, "dead_lettered", _("Of these dead-lettered"), "mute"),
            _line(series, "retried", _("Retried"), "warn"),
        ]
    return Chart(series.times, series.width_s, "count", lines), series.read_at


def _line(series: CountSeries, key: str, label: Any, tone: str) -> Line:
    return Line(key, label, [None if each is None else getattr(each, key) for each in series.counts], tone)


def _latency(scope: Scope, window: WorkWindow) -> tuple[Chart, datetime]:
    series = latency_series(scope, window, now=timezone.now())
    lines = [
        Line(name, name, [None if each is None else getattr(each, f"{name}_ms") for each in series.durations])
        for name in ("p50", "p95", "p99")
    ]
    note = _("of a sample of all deliveries") if series.is_sampled else ""
    return Chart(series.times, series.width_s, "ms", lines, note), series.read_at
