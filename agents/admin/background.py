"""Background jobs of the portal: whether each runs, and what it said when it failed."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agents.models import BackgroundJob
from agents.selectors.jobs import job_state
from controlplane.common.partitions import PARTITIONS_JOB, partitioned_tables, partitions
from controlplane.console.admin import PageAdmin
from controlplane.console.formatting import age, badge, cut, duration


@admin.register(BackgroundJob)
class BackgroundJobAdmin(PageAdmin):
    list_display = ("name", "state", "succeeded", "took", "failed", "error")
    search_fields = ("name",)
    list_filter = (("last_failed_at", admin.EmptyFieldListFilter),)
    date_hierarchy = "last_started_at"
    page_template = "admin/agents/backgroundjob/page.html"

    @admin.display(description=_("State"))
    def state(self, row: BackgroundJob) -> SafeString:
        return badge("job", job_state(row, now=timezone.now()))

    @admin.display(description=_("Last succeeded"), ordering="last_succeeded_at")
    def succeeded(self, row: BackgroundJob) -> SafeString | str:
        return age(row.last_succeeded_at)

    @admin.display(description=_("Took"), ordering="last_duration_ms")
    def took(self, row: BackgroundJob) -> str:
        return duration(row.last_duration_ms)

    @admin.display(description=_("Last failed"), ordering="last_failed_at")
    def failed(self, row: BackgroundJob) -> SafeString | str:
        return age(row.last_failed_at)

    @admin.display(description=_("Last error"))
    def error(self, row: BackgroundJob) -> SafeString | str:
        return cut(row.last_error, 80)

    def page_context(self, request: HttpRequest, obj: BackgroundJob) -> dict[str, object]:
        return {
            "state": job_state(obj, now=timezone.now()),
            "partitions_job": PARTITIONS_JOB,
            "tables": [(table, partitions(table)) for table in partitioned_tables()]
            if obj.name == PARTITIONS_JOB
            else [],
        }
