"""A filter of the list of commands that costs the same however many there are."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import TextFilter

from controlplane.common.clean import clean_text


class OrderedByFilter(TextFilter):  # type: ignore[misc]
    """Commands of one person or token, whose name is typed exactly."""

    title = _("ordered by")
    parameter_name = "who"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = clean_text((self.value() or "").strip())
        return queryset.filter(created_by_name=value) if value else queryset
