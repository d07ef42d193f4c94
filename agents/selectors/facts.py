"""Searching the fleet by facts: exact values at a path, the same on both databases, and words in any fact.

A condition reads `path=value`: names of objects with dots between (backslash and dot are a dot in a name), and JSON or
else text. What reads as JSON matches such a value and the same as text: `cpu_number=8` finds 8 and "8".
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Case, Q, TextField, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from django.utils.translation import gettext

from agents.models import Instance, InstanceFacts
from agents.selectors.visibility import Environments, within
from controlplane.common.clean import BIGINT_MAX
from controlplane.common.errors import Invalid, NotFound

DEPTH_MAX: Final = 16
TEXT_MAX: Final = 500
# Where many are told of, larger facts are left out: a page of the largest would take gigabytes.
LISTED_MAX_BYTES: Final = 64 * 1024
# Shorter words would match nearly everything.
WORDS_MIN: Final = 3
_DOT = re.compile(r"(?<!\\)\.")
Scalar = str | int | float | bool | None


class FactInvalid(Invalid):
    """Write a fact as path=value, as in cpu_number=8."""

    code = "fact_invalid"


@dataclass(frozen=True, slots=True)
class Fact:
    """A path of names, and the values of which one must stand there."""

    path: tuple[str, ...]
    values: tuple[Scalar, ...]


def parse_fact(text: str) -> Fact:
    """Read `path=value`. Raises FactInvalid, with a sentence that says what to write."""
    path, equals, value = text.partition("=")
    if not equals:
        raise FactInvalid(gettext("Write a fact as path=value, as in cpu_number=8 or os.name=linux."))
    names = tuple(name.replace("\\.", ".") for name in _DOT.split(path.strip()))
    if not all(names) or len(names) > DEPTH_MAX:
        raise FactInvalid(
            gettext("The path before = is 1 to %d names with dots between, as in os.name=linux.") % DEPTH_MAX
        )
    if any('"' in name for name in names):
        raise FactInvalid(gettext('The names of a path hold no ".'))
    return Fact(names, _values(value.strip()))


def _values(text: str) -> tuple[Scalar, ...]:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return (text,)
    if isinstance(value, dict | list):
        return (text,)
    if isinstance(value, int | float) and not abs(value) <= BIGINT_MAX:
        return (text,)
    return (value,) if isinstance(value, str) else (value, text)


def _refuse(name: str) -> None:
    raise ValueError(name)


def with_fact(fact: Fact) -> Q:
    """Matches instances that have it. On PostgreSQL an index of the facts answers; SQLite reads them."""
    matched = Q()
    for value in fact.values:
        matched |= _contains(fact.path, value)
    return matched


def _contains(path: tuple[str, ...], value: Scalar) -> Q:
    if connection.vendor == "postgresql":
        document: Any = value
        for name in reversed(path):
            document = {name: document}
        # A subquery, because the planner would read all facts for an OR across two tables.
        return Q(pk__in=InstanceFacts.objects.filter(facts__contains=document).values("pk"))
    # Names as they stand in the stored JSON, with what is not ASCII escaped: SQLite compares them so.
    place = "$" + "".join(f".{json.dumps(name)}" for name in path)
    if value is None:
        return Q(pk__in=RawSQL(f"{_OF_TYPE} IN ('null')", [place]))  # noqa: S611 -- constant text
    if isinstance(value, bool):
        return Q(pk__in=RawSQL(f"{_OF_TYPE} = %s", [place, "true" if value else "false"]))  # noqa: S611 -- as above
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    statement = f"{_OF_TYPE} IN {types} AND json_extract(facts, %s) = %s"
    return Q(pk__in=RawSQL(statement, [place, place, value]))  # noqa: S611 -- as above


_OF_TYPE = "SELECT instance_id FROM agents_instancefacts WHERE json_type(facts, %s)"


def mentioning_q(text: str) -> Q:
    """Matches instances of whose facts some name or value holds the text, in any case. Cost: all facts are read."""
    # As it stands in the stored JSON: SQLite keeps what is not ASCII escaped.
    written = json.dumps(text, ensure_ascii=connection.vendor == "sqlite")[1:-1]
    found = InstanceFacts.objects.annotate(text=Cast("facts", TextField())).filter(text__icontains=written)
    return Q(pk__in=found.values("pk"))


def facts_of(instance_id: UUID, *, environments: Environments = None) -> InstanceFacts:
    """The facts of an instance, empty where it has said none; NotFound where there is no such instance."""
    rows = Instance.objects.filter(within(environments, "service__environment"), pk=instance_id)
    instance = rows.select_related("facts").first()
    if instance is None:
        raise NotFound(f"instance {instance_id} was not found", code="instance_not_found")
    return known_facts(instance) or InstanceFacts(instance=instance)


def listed_facts(instances: Collection[Instance]) -> dict[UUID, InstanceFacts]:
    """The facts of many; `facts` of those larger than LISTED_MAX_BYTES is None. One query, none for no instances."""
    if not instances:
        return {}
    rows = InstanceFacts.objects.filter(pk__in=[instance.pk for instance in instances]).values_list(
        "pk", "facts_bytes", "changed_at", Case(When(facts_bytes__lte=LISTED_MAX_BYTES, then="facts"))
    )
    return {
        pk: InstanceFacts(instance_id=pk, facts_bytes=size, changed_at=changed_at, facts=facts)
        for pk, size, changed_at, facts in rows
    }


def known_facts(instance: Instance) -> InstanceFacts | None:
    """The row of its facts; one query unless it was selected along."""
    found: InstanceFacts | None = getattr(instance, "facts", None)
    return found
