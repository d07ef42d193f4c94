"""Filters of the list of nodes that ask for what their instances are."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest

from agents.admin.filters import ArchivedFilter, GroupFilter, SelectorFilter
from agents.labels import Selector, SelectorInvalid, parse
from agents.selectors.labels import matches_q


class ArchivedNodeFilter(ArchivedFilter):
    """Without the archived nodes unless they are asked for."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset if chosen == "all" else queryset.filter(instance__archived_at__isnull=chosen != "true")


class NodeSelectorFilter(SelectorFilter):
    """Nodes that a selector means."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value()
        if not text:
            return queryset
        try:
            return queryset.filter(matches_q(parse(text), "instance"))
        except SelectorInvalid as error:
            messages.error(request, str(error))
            return queryset.none()


class NodeGroupFilter(GroupFilter):
    """Nodes of one saved group."""

    def narrowed(self, queryset: QuerySet[Any], selector: Selector) -> QuerySet[Any]:
        return queryset.filter(matches_q(selector, "instance"))
