"""Filters of the list of commands that cost the same however many there are."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from controlplane.common.clean import clean_text

_AGES = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}


class OrderedFilter(DropdownFilter):  # type: ignore[misc]
    """Commands of the last while; a date hierarchy would read every row of the table for its links."""

    title = _("time")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("1h", _("Last hour")),
            ("1d", _("Last 24 hours")),
            ("7d", _("Last 7 days")),
            ("30d", _("Last 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        age = _AGES.get(str(self.value()))
        return queryset.filter(created_at__gte=timezone.now() - age) if age else queryset


class OrderedByFilter(TextFilter):  # type: ignore[misc]
    """Commands of one person or token, whose name is typed exactly."""

    title = _("ordered by")
    parameter_name = "who"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = clean_text((self.value() or "").strip())
        return queryset.filter(created_by_name=value) if value else queryset
