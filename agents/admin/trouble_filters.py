"""Filters that show exactly the rows that the front page counts as wrong."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from agents.models import Command
from agents.selectors.census import in_conflict, offline_lately, unwell, with_topology
from agents.selectors.orders_in_trouble import ended_badly, stuck
from controlplane.console.formatting import Words


class TroubleFilter(DropdownFilter):  # type: ignore[misc]
    """Rows in one sort of trouble."""

    title = _("trouble")
    parameter_name = "trouble"
    sorts: ClassVar[Mapping[str, tuple[Words, Callable[[datetime], Q]]]] = {}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, words) for name, (words, _matching) in self.sorts.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.sorts.get(str(self.value()))
        return queryset.filter(chosen[1](timezone.now())) if chosen else queryset


class InstanceTroubleFilter(TroubleFilter):
    """Instances in trouble."""

    sorts = {
        "offline": (_("Went offline lately"), offline_lately),
        "conflict": (_("Identity conflict"), in_conflict),
        "unwell": (_("Online and unwell"), lambda _now: unwell()),
        "topology": (_("Online and told its topology"), lambda _now: with_topology()),
    }


class CommandTroubleFilter(TroubleFilter):
    """Commands in trouble."""

    sorts = {
        "open": (_("Not ended yet"), lambda _now: Q(status__in=Command.OPEN)),
        "stuck": (_("Waits too long"), stuck),
        "failed": (_("Went wrong in the last 15 min"), ended_badly),
    }
