"""Filters of the list of nodes that ask for what their instances are."""

from typing import Any

from django.db.models import QuerySet

from agents.admin.filters import ArchivedFilter, GroupFilter, SelectorFilter
from agents.labels import Selector
from agents.selectors.labels import matches_q


class ArchivedNodeFilter(ArchivedFilter):
    """Without the archived nodes unless they are asked for."""

    path = "instance__"


class OfNodeMixin:
    """Narrows nodes by their instances."""

    def narrowed(self, queryset: QuerySet[Any], selector: Selector) -> QuerySet[Any]:
        return queryset.filter(matches_q(selector, "instance"))


class NodeSelectorFilter(OfNodeMixin, SelectorFilter):
    """Nodes that a selector means."""


class NodeGroupFilter(OfNodeMixin, GroupFilter):
    """Nodes of one saved group."""
