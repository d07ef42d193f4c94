"""Whom and what a rule or a silence means now."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, Q, QuerySet

from agents.labels import parse
from agents.models import Instance, Service
from agents.selectors.labels import matches_q
from agents.selectors.matches import eligible
from notifications.models import Scope
from tasks_app.models import Task

# So many scopes are counted in one statement.
COUNTED_MAX = 20


def task_patterns(text: str) -> list[str]:
    """The patterns of `Scope.task_pattern`, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _services_q(scope: Scope, prefix: str) -> Q:
    """What services and environments say, of rows whose service `prefix` leads to."""
    named = Q()
    for each in scope.service_scopes:
        named |= Q(**{f"{prefix}name": each["name"], f"{prefix}environment": each["environment"]})
    return named & (Q(**{f"{prefix}environment__in": scope.environments}) if scope.environments else Q())


def instances_q(scope: Scope) -> Q:
    """Matches the instances that a scope means. Raises SelectorInvalid."""
    condition = _services_q(scope, "service__")
    return condition & matches_q(parse(scope.selector)) if scope.selector else condition


def instances_of(scope: Scope) -> QuerySet[Instance]:
    """The instances that a scope means now, by name, with their service; archived ones are left out."""
    rows = eligible(Instance.objects.select_related("service"))
    return rows.filter(instances_q(scope)).order_by("node_name", "id")


def instance_counts(scopes: Iterable[Any]) -> dict[int, int]:
    """How many instances each of these rules or silences means, by its key. One query for COUNTED_MAX of them."""
    pending = list(scopes)
    counts: dict[int, int] = {}
    while pending:
        part, pending = pending[:COUNTED_MAX], pending[COUNTED_MAX:]
        counted = {f"n{each.pk}": Count("pk", filter=instances_q(each) or None) for each in part}
        found = eligible(Instance.objects.order_by()).aggregate(**counted)
        counts |= {int(name.removeprefix("n")): count for name, count in found.items()}
    return counts


def tasks_of(scope: Scope) -> QuerySet[Task]:
    """The tasks that a scope means now, with their service; a selector does not narrow them."""
    rows = Task.objects.select_related("service").filter(_services_q(scope, "service__"))
    patterns = task_patterns(scope.task_pattern)
    named = Q()
    for pattern in patterns:
        named |= Q(name__regex=_regex(pattern))
    return rows.filter(named).order_by("service", "name")


def _regex(pattern: str) -> str:
    """A pattern of names as a regular expression that both databases read alike."""
    signs = ({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return f"^{''.join(signs)}$"


def unknown_services(service_scopes: Sequence[dict[str, str]]) -> list[str]:
    """Those of which there is no service, as `environment/name`. One query."""
    if not service_scopes:
        return []
    wanted = {(each["environment"], each["name"]) for each in service_scopes}
    rows = Service.objects.filter(name__in={name for _environment, name in wanted})
    known = set(rows.values_list("environment", "name"))
    return sorted(f"{environment}/{name}" for environment, name in wanted - known)
