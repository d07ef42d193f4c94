"""Services: what runs where, in how many versions, and the same command for many instances."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.aiming import Asked
from agents.admin.archiving import ServiceArchivingAdmin
from agents.admin.fan_out_form import confirmation
from agents.admin.filters import ArchivedFilter
from agents.admin.sending import OrderForm, choices_for_service, ensure_may_send, kinds_for, prefilled, typed
from agents.admin.service_page import live_context
from agents.labels import Selector
from agents.models import Command, Instance, Service
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.selectors.events import events_so_far
from agents.selectors.instances import kept
from agents.selectors.overview import RECENT
from agents.selectors.presence import present_count
from controlplane.access.actors import actor_of
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, Unauthorized
from controlplane.console.admin import redirect_to_login_again
from controlplane.console.formatting import NOTHING, admin_url, age, badge, link, short
from tasks_app.selectors.drift import drift
from tasks_app.selectors.topology import draw
from tasks_app.services.fan_outs import Aim, expect_fan_out

TASKS_SHOWN = 300


def _count(queryset: QuerySet[Any], by: str = "service") -> Coalesce:
    """How many rows of `queryset` belong to the service of the outer row; run for the rows of one page only."""
    counted = queryset.filter(**{by: OuterRef("pk")}).order_by().values(by).annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


@admin.register(Service)
class ServiceAdmin(ServiceArchivingAdmin):
    list_display = ("name", "environment", "instances_online", "failures", "version", "topology", "synced")
    list_filter = (ArchivedFilter, "environment")
    actions = ("archive_selected", "restore_selected")
    search_fields = ("name", "environment", "description")
    date_hierarchy = "created_at"
    page_template = "admin/agents/service/page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        online = Instance.objects.filter(connectivity=Connectivity.ONLINE)
        failed = events_so_far().filter(occurred_at__gte=timezone.now() - RECENT, kind=EventKind.TASK_FAILED)
        rows: QuerySet[Service] = super().get_queryset(request)
        return rows.annotate(online=_count(online), instance_count=_count(kept()), failed=_count(failed))

    @admin.display(description=_("Instances online"))
    def instances_online(self, row: Any) -> SafeString:
        if not row.instance_count:
            return badge("fleet", "empty", gettext("No instances"))
        state = "none" if not row.online else "all" if row.online == row.instance_count else "some"
        words = gettext("%(online)d of %(all)d") % {"online": row.online, "all": row.instance_count}
        return link(admin_url("agents_instance_changelist", service__id__exact=row.pk), badge("fleet", state, words))

    @admin.display(description=_("Failures, 15 min"))
    def failures(self, row: Any) -> SafeString | str:
        if not row.failed:
            return "0"
        url = admin_url("agents_event_changelist", service__id__exact=row.pk, kind__exact=EventKind.TASK_FAILED)
        return link(url, badge("level", "error", str(row.failed)))

    @admin.display(description=_("Version"), ordering="latest_deployment_version")
    def version(self, row: Service) -> str:
        return row.latest_deployment_version or NOTHING

    @admin.display(description=_("Topology"))
    def topology(self, row: Service) -> SafeString | str:
        return short(row.latest_topology_hash.removeprefix("sha256:"))

    @admin.display(description=_("Last sync"), ordering="latest_sync_at")
    def synced(self, row: Service) -> SafeString | str:
        return age(row.latest_sync_at)

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        return [
            ("send", "send", self.send_view),
            ("live", "live", self.live_view),
            *super().get_page_urls(),
        ]

    def page_context(self, request: HttpRequest, obj: Service) -> dict[str, object]:
        """About 16 queries, two more where instances differ in what they run, whatever the size of the service."""
        tasks = list(obj.tasks.order_by("name")[: TASKS_SHOWN + 1])
        kinds = kinds_for(request)
        return {
            **self.archiving_context(request, obj, present=present_count(obj.instances.all())),
            **live_context(obj, request.GET),
            "drift": drift(obj),
            "tasks": tasks[:TASKS_SHOWN],
            "more_tasks": len(tasks) > TASKS_SHOWN,
            "drawing": draw(tasks),
            "form": OrderForm(
                initial=prefilled(request),
                choices=choices_for_service((task.name for task in tasks), kinds),
                surface=Command.Surface.SERVICE,
            )
            if kinds
            else None,
            "form_open": "kind" in request.GET,
            "form_action": admin_url("agents_service_send", obj.pk),
            "chosen": set(request.GET.getlist("target")),
            "query": request.GET.urlencode(),
            "watch": urlencode(
                {
                    "channels": "instances,commands,sessions,services,tasks",
                    "service": obj.name,
                    "environment": obj.environment,
                }
            ),
            "charts_query": f"service={obj.pk}",
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What moves: how the instances are, the page of them that is looked at, and the latest history."""
        service = self.get_page_object(request, object_id)
        context = {**live_context(service, request.GET), "object": service}
        return TemplateResponse(request, "admin/agents/service/live.html", context)

    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what an order would meet at many instances; the page that does leads on to the sending."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        service = self.get_page_object(request, object_id)
        names = service.tasks.values_list("name", flat=True)
        form = OrderForm(
            request.POST, choices=choices_for_service(names, kinds_for(request)), surface=Command.Surface.SERVICE
        )
        chosen = request.POST.getlist("target")
        status = 422
        if self._may(form) and form.is_valid():
            try:
                ensure_may_send(request, form.cleaned_data["kind"])
                asked = _asked(service, request)
                order = form.order()
                return confirmation(request, asked, order, expect_fan_out(asked.aim, order, actor=actor_of(request)))
            except Unauthorized:
                back = admin_url("agents_service_change", service.pk, **typed(request))
                return redirect_to_login_again(f"{back}#send")
            except Invalid as error:
                form.add_service_error(error)
            except ControlPlaneError as error:
                form.add_error(None, str(error))
                status = 403 if isinstance(error, Forbidden) else 409
        elif not form.choices.kinds:
            status = 403
        return self.render_page(request, service, form=form, form_open=True, chosen=set(chosen), status=status)

    @staticmethod
    def _may(form: OrderForm) -> bool:
        if form.choices.kinds:
            return True
        form.add_error(None, gettext("Your role does not allow this command."))
        return False


def _asked(service: Service, request: HttpRequest) -> Asked:
    """Whom the form is for: all that are online, all of the service, or those chosen. Raises Invalid where none was."""
    mode = request.POST.get("target_mode")
    if mode == "all":
        selector = Selector(
            match_labels=(("portal/environment", service.environment), ("portal/service", service.name))
        )
        return Asked(Aim.by_selector(selector), [("selector", str(selector))])
    if mode != "selected":
        return Asked(Aim.by_service(service), [("service", str(service.pk))])
    try:
        chosen = [uuid.UUID(value) for value in dict.fromkeys(request.POST.getlist("target"))]
    except ValueError as error:
        raise Invalid(gettext("This is not the id of an instance."), field="target") from error
    if not chosen:
        raise Invalid(gettext("Choose at least one instance, or all that are online."), field="target")
    parameters = [("service", str(service.pk)), *(("instance", str(each)) for each in chosen)]
    return Asked(Aim.by_service(service, chosen), parameters)
