"""Saved views: those that one person finds above a list."""

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from agents.models import SavedView

# More make no list to choose from.
VIEWS_SHOWN = 100


def saved_views(list_name: str, *, person: User) -> QuerySet[SavedView]:
    """The views of a list that a person made or that others share, by name, each with its owner."""
    rows = SavedView.objects.filter(Q(owner=person) | Q(is_shared=True), list_name=list_name)
    return rows.select_related("owner")[:VIEWS_SHOWN]
