"""Saved groups, and how many instances belong to each now."""

from collections.abc import Iterable

from django.db.models import Count, QuerySet

from agents.labels import Selector, parse
from agents.models import Group, Instance
from agents.selectors.labels import matches_q
from agents.selectors.matches import eligible
from agents.selectors.visibility import Environments
from controlplane.common.errors import NotFound

# So many are counted in one statement.
COUNTED_MAX = 50


class GroupUnknown(NotFound):
    """There is no such group."""

    code = "group_not_found"


def groups() -> QuerySet[Group]:
    return Group.objects.order_by("name")


def get_group(name: str, *, rows: QuerySet[Group] | None = None) -> Group:
    """The group of this name, exactly. Raises GroupUnknown."""
    group = (groups() if rows is None else rows).filter(name=name).first()
    if group is None:
        raise GroupUnknown(f"group {name} was not found")
    return group


def selector_of(name: str) -> Selector:
    """What the group of this name stands for now. Raises GroupUnknown."""
    return parse(get_group(name).selector)


def member_counts(found: Iterable[Group], *, environments: Environments = None) -> dict[int, int]:
    """How many instances belong to each now, archived ones left out. One pass over the fleet for COUNTED_MAX groups."""
    pending = list(found)
    counts: dict[int, int] = {}
    while pending:
        part, pending = pending[:COUNTED_MAX], pending[COUNTED_MAX:]
        counted = {f"n{group.pk}": Count("pk", filter=matches_q(parse(group.selector))) for group in part}
        asked = eligible(Instance.objects.order_by(), environments).aggregate(**counted)
        counts |= {int(name.removeprefix("n")): count for name, count in asked.items()}
    return counts
