"""Labels of instances in the database: whom a selector means, and who fails it by one requirement alone.

A selector is compiled to one condition on stored labels, which the GIN index of `InstanceLabels.effective` serves, one
on facts, and conditions on columns for what is derived. On SQLite stored labels are read by the very code that
`Selector.matches` runs. A property test holds that both databases and Python agree.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    Count,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.dispatch import receiver

from agents.labels import Operator, Requirement, Selector, parse, read_tags
from agents.labels.numbers import NUMBER_MAX_CHARS, NUMBER_PATTERN
from agents.models import Instance, InstanceFacts, InstanceLabels

# Which columns the derived labels are read from; an empty one says that the portal does not know.
_COLUMNS: Final = {
    "portal/dialect": "dialect",
    "portal/environment": "service__environment",
    "portal/service": "service__name",
    "portal/version": "deployment_version",
    "portal/agent-version": "agent_version",
    "portal/hostname": "hostname",
    "portal/node": "node_name",
}
# Under which names facts have the others: the first that holds a text which is not empty.
_FACTS: Final = {"portal/os": ("os", "platform"), "portal/arch": ("arch", "machine")}
_LAYERS: Final = ("labels__agent", "labels__tags", "labels__operator", "labels__refused")
# Beyond so many values the index is asked for the key alone: each value is a search of its own, and the planner may
# as well read all rows, with a comparison for each value.
_SEARCHES_MAX: Final = 8
# Operators that say no where their positive says yes.
_NEGATED: Final = {Operator.NOT_IN: Operator.IN, Operator.NOT_EXISTS: Operator.EXISTS}
_OPPOSITE: Final = {**_NEGATED, **{positive: denied for denied, positive in _NEGATED.items()}}
_Compiled = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of an instance in their layers, each above those before it; `effective` is all of them in one.

    Labels of the agent that may not be, and tags that are no labels, are left out; each with why.
    """

    agent: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    operator: dict[str, str] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    agent_left_out: dict[str, str] = field(default_factory=dict)
    tags_left_out: dict[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        return {**self.agent_left_out, **self.tags_left_out}

    @property
    def effective(self) -> dict[str, str]:
        return {**self.agent, **self.tags, **self.operator, **self.derived}


@dataclass(frozen=True, slots=True)
class NearMiss:
    """How many instances fail this one requirement of a selector, itself a selector, and meet all others."""

    requirement: Selector
    count: int
    examples: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """How many instances were asked, and meet all; for each requirement, how many fail it, and fail it alone."""

    total: int
    matching: int
    excluded: list[int]
    missed: list[int]


def matching(rows: QuerySet[Instance], selector: Selector) -> QuerySet[Instance]:
    """Those of `rows` that a selector means."""
    return rows.filter(matches_q(selector))


def matches_q(selector: Selector, path: str = "") -> Q:
    """The condition that an instance is meant; `path` leads to it from other rows, as in `instance`."""
    prefix = f"{path}__" if path else ""
    stored: list[Requirement] = []
    facts: list[Requirement] = []
    condition = Q()
    for requirement in requirements_of(selector):
        if requirement.key in _COLUMNS:
            holds = _column_holds(_positive(requirement), f"{prefix}{_COLUMNS[requirement.key]}")
            condition &= ~holds if requirement.operator in _NEGATED else holds
        else:
            (facts if requirement.key in _FACTS else stored).append(requirement)
    instance = OuterRef(f"{prefix}pk")
    if stored:
        condition &= _beside(InstanceLabels.objects.all(), stored, "effective", instance, f"{prefix}pk__in")
    if facts:
        condition &= _beside(InstanceFacts.objects.all(), facts, "facts", instance, f"{prefix}pk__in")
    return condition


def of_matching(selector: Selector) -> Q:
    """The condition that the `instance` of a row is meant; rows of none never are."""
    return Q(instance__in=matching(Instance.objects.order_by(), selector).values("pk"))


def labels_of(instances: Iterable[Instance]) -> dict[UUID, Labels]:
    """The labels of each instance in layers. Two queries; the instances' services must be loaded."""
    given = {instance.pk: instance for instance in instances}
    rows = Instance.objects.filter(pk__in=given).order_by().values_list("pk", *_LAYERS, "node__label")
    stored = {key: [each or {} for each in row] for key, *row in rows}
    facts = _facts_of(given)
    found: dict[UUID, Labels] = {}
    for key, instance in given.items():
        agent, tags, operator, refused, written = stored.get(key, [{}] * 5)
        derived = derived_labels(instance, facts.get(key, {}))
        found[key] = Labels(agent, tags, operator, derived, refused, read_tags(list(written)).left_out)
    return found


def _facts_of(keys: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Of the facts of each instance, which may be large, the texts that labels are derived from."""
    names = sorted({name for named in _FACTS.values() for name in named})
    rows = InstanceFacts.objects.filter(pk__in=keys).values_list("pk", *(_FactText(name) for name in names))
    return {key: dict(zip(names, texts, strict=True)) for key, *texts in rows}


def derived_labels(instance: Instance, facts: object) -> dict[str, str]:
    """What the portal says of an instance, by the keys of `agents.labels.DERIVED`, without what it does not know."""
    found = {
        "portal/dialect": instance.dialect,
        "portal/environment": instance.service.environment,
        "portal/service": instance.service.name,
        "portal/version": instance.deployment_version,
        "portal/agent-version": instance.agent_version,
        "portal/hostname": instance.hostname,
        "portal/node": instance.node_name,
        **{key: _fact(facts, names) for key, names in _FACTS.items()},
    }
    return {key: value for key, value in found.items() if value}


def survey(rows: QuerySet[Instance], selector: Selector) -> Survey:
    """How many of `rows` meet and fail which requirements. One query, which reads all of `rows` once."""
    parts = len(selector.parts())
    mask = _mask(selector)
    found = rows.order_by().annotate(mask=mask).values("mask").annotate(found_count=Count("pk"))
    counts = dict(found.values_list("mask", "found_count"))
    return Survey(
        total=sum(counts.values()),
        matching=counts.get(0, 0),
        excluded=[sum(count for bits, count in counts.items() if bits >> part & 1) for part in range(parts)],
        missed=[counts.get(1 << part, 0) for part in range(parts)],
    )


def near_examples(rows: QuerySet[Instance], selector: Selector, number: int, count: int) -> list[Instance]:
    """So many of `rows` at most, by name, that fail this requirement of the selector alone, with their services.

    One query. What is denied is asked for as a requirement of its own where it can be: then an index leads to it, or
    the order of the names ends the search early.
    """
    asked = requirements_of(selector)
    failed = asked.pop(number)
    opposite = _OPPOSITE.get(failed.operator)
    if opposite is not None:
        asked.append(Requirement(failed.key, opposite, failed.values))
    near = rows.select_related("service").filter(matches_q(Selector(expressions=tuple(asked))))
    if opposite is None:
        near = near.exclude(matches_q(Selector(expressions=(failed,))))
    return list(near.order_by("node_name", "id")[:count])


def near_misses(rows: QuerySet[Instance], selector: Selector, *, example_count: int = 0) -> list[NearMiss]:
    """For each requirement how many of `rows` fail it alone, in the order of the selector's text.

    The cost is that of `survey`; with `example_count`, of `near_examples` for each that somebody fails alone.
    """
    missed = survey(rows, selector).missed
    examples = [
        near_examples(rows, selector, number, example_count) if example_count and count else []
        for number, count in enumerate(missed)
    ]
    return [
        NearMiss(part, count, tuple(near)) for part, count, near in zip(selector.parts(), missed, examples, strict=True)
    ]


def _mask(selector: Selector) -> Any:
    """A number whose bits are the requirements that an instance fails, the first one the lowest."""
    mask: Any = Value(0, output_field=BigIntegerField())
    for number, requirement in enumerate(requirements_of(selector)):
        mask += _fails(requirement, weight=1 << number)
    return mask


def requirements_of(selector: Selector) -> list[Requirement]:
    """The requirements in the order of `Selector.parts`, those of match_labels as expressions."""
    equal = (Requirement(key, Operator.IN, (value,)) for key, value in selector.match_labels)
    return [*equal, *selector.expressions]


def _positive(requirement: Requirement) -> Requirement:
    """The same, or what it denies."""
    operator = _NEGATED.get(requirement.operator)
    return Requirement(requirement.key, operator, requirement.values) if operator else requirement


def _column_holds(requirement: Requirement, column: str) -> Q:
    """A positive requirement of a column that is never null; it must not be empty, or there is no label."""
    if requirement.operator is Operator.EXISTS:
        return ~Q(**{column: ""})
    if requirement.operator is Operator.IN:
        return Q(**{f"{column}__in": [value for value in requirement.values if value]})
    return Q(_Compares(F(column), requirement))


def _beside(
    rows: "QuerySet[Any]", requirements: Sequence[Requirement], column: str, instance: OuterRef, is_among: str
) -> Q:
    """The condition that a row beside the instance meets requirements; without the row there are no labels.

    Where one of them is positive there must be a row, so that the index leads to the instances.
    """
    needed = [each for each in requirements if each.operator not in _NEGATED]
    denied = [_positive(each) for each in requirements if each.operator in _NEGATED]
    if needed:
        rows = rows.filter(*(Q(_holds(each, column)) for each in needed))
        return Q(**{is_among: rows.filter(*(~Q(_holds(each, column)) for each in denied)).values("pk")})
    any_denied = Q()
    for each in denied:
        any_denied |= Q(_holds(each, column))
    return ~Q(Exists(rows.filter(any_denied, pk=instance)))


def _fails(requirement: Requirement, *, weight: int) -> Case:
    """`weight` where an instance fails a requirement, 0 where it meets it; what is beside it is joined."""
    positive = _positive(requirement)
    if requirement.key in _COLUMNS:
        holds = _column_holds(positive, _COLUMNS[requirement.key])
    else:
        holds = Q(_holds(positive, "facts__facts" if requirement.key in _FACTS else "labels__effective"))
    # Of a missing row the condition is null, which is no match.
    is_denied = requirement.operator in _NEGATED
    met, failed = (Value(each, output_field=BigIntegerField()) for each in (0, weight))
    return Case(When(holds, then=failed if is_denied else met), default=met if is_denied else failed)


def _holds(requirement: Requirement, column: str) -> "Func":
    """A positive requirement of the labels or facts in a column of JSON."""
    if requirement.key not in _FACTS:
        return _Holds(column, requirement)
    return _FactHolds(column, requirement)


class _Holds(Func):
    """Whether stored labels meet a requirement. Null where there are none."""

    output_field = BooleanField()

    def __init__(self, column: str, requirement: Requirement) -> None:
        super().__init__(F(column))
        self.requirement = requirement

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> _Compiled:  # noqa: ARG002 -- Django's
        column, _ = compiler.compile(self.source_expressions[0])
        key, values = self.requirement.key, self.requirement.values
        if self.requirement.operator is Operator.EXISTS:
            return f"{column} ? %s", (key,)
        if self.requirement.operator is not Operator.IN:
            number, parameters = _number_sql(f"({column} ->> %s::text)", (key,), self.requirement)
            return f"({column} ? %s AND {number})", (key, *parameters)
        if len(values) > _SEARCHES_MAX:
            return f"({column} ? %s AND {column} ->> %s::text = ANY(%s::text[]))", (key, key, list(values))
        searches = " OR ".join([f"{column} @> %s::jsonb"] * len(values))
        return f"({searches})", tuple(json.dumps({key: value}) for value in values)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> _Compiled:  # noqa: ARG002
        column, _params = compiler.compile(self.source_expressions[0])
        return f"labels_match({column}, %s)", (_text_of(self.requirement),)


class _FactHolds(_Holds):
    """Whether facts meet a requirement of a label that is derived from them."""

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> _Compiled:  # noqa: ARG002 -- Django's
        column, _ = compiler.compile(self.source_expressions[0])
        names, values = _FACTS[self.requirement.key], self.requirement.values
        is_text = f"WHEN jsonb_typeof({column} -> %s::text) = 'string' AND {column} ->> %s::text <> '' "
        cases = f"{is_text} THEN {column} ->> %s::text " * len(names)
        fact, asked = f"(CASE {cases}END)", tuple(name for name in names for _time in range(3))
        if self.requirement.operator is Operator.EXISTS:
            return f"{fact} IS NOT NULL", asked
        if self.requirement.operator is not Operator.IN:
            return _number_sql(fact, asked, self.requirement)
        # Never null for a row, lest its denial be null as well.
        sql, parameters = f"COALESCE({fact} = ANY(%s::text[]), FALSE)", (*asked, [value for value in values if value])
        if len(values) > _SEARCHES_MAX:
            return sql, parameters
        # What the index of facts knows: one of the names has one of the values, if not the first name.
        searches = [json.dumps({name: value}) for name in names for value in values]
        return f"(({' OR '.join([f'{column} @> %s::jsonb'] * len(searches))}) AND {sql})", (*searches, *parameters)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> _Compiled:  # noqa: ARG002
        column, _params = compiler.compile(self.source_expressions[0])
        return f"facts_match({column}, %s)", (_text_of(self.requirement),)


class _FactText(Func):
    """The text that facts have under a name; null where it is none."""

    output_field = TextField()

    def __init__(self, name: str) -> None:
        super().__init__(F("facts"))
        self.name = name

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> _Compiled:  # noqa: ARG002 -- Django's
        column, _ = compiler.compile(self.source_expressions[0])
        is_text = f"jsonb_typeof({column} -> %s::text) = 'string'"
        return f"(CASE WHEN {is_text} THEN {column} ->> %s::text END)", (self.name, self.name)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> _Compiled:  # noqa: ARG002
        column, _params = compiler.compile(self.source_expressions[0])
        path = f'$."{self.name}"'
        return f"(CASE WHEN json_type({column}, %s) = 'text' THEN json_extract({column}, %s) END)", (path, path)


class _Compares(Func):
    """Whether a text is a number above or below that of a requirement."""

    output_field = BooleanField()

    def __init__(self, text: F, requirement: Requirement) -> None:
        super().__init__(text, output_field=BooleanField())
        self.requirement = requirement

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> _Compiled:  # noqa: ARG002 -- Django's
        text, _ = compiler.compile(self.source_expressions[0])
        return _number_sql(text, (), self.requirement)

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any) -> _Compiled:  # noqa: ARG002
        text, _params = compiler.compile(self.source_expressions[0])
        return f"label_matches({text}, %s)", (_text_of(self.requirement),)


def _number_sql(text: str, parameters: tuple[Any, ...], requirement: Requirement) -> _Compiled:
    """PostgreSQL's condition that a text is a number above or below that of a requirement. Null counts as none.

    CASE keeps what is no number from being cast, which would be an error.
    """
    is_number = f"length({text}) <= {NUMBER_MAX_CHARS} AND {text} ~ '^({NUMBER_PATTERN})$'"
    compared = f"{text}::numeric {'>' if requirement.operator is Operator.GT else '<'} %s::numeric"
    return f"(CASE WHEN {is_number} THEN {compared} ELSE FALSE END)", (*parameters * 3, requirement.values[0])


def _text_of(requirement: Requirement) -> str:
    return str(Selector(expressions=(requirement,)))


def _fact(facts: object, names: Sequence[str]) -> str:
    """The first text that is not empty under one of the names."""
    found = (facts.get(name) for name in names) if isinstance(facts, dict) else ()
    return next((value for value in found if isinstance(value, str) and value), "")


@lru_cache(maxsize=1024)
def _requirement(text: str) -> Requirement:
    return parse(text).expressions[0]


@lru_cache(maxsize=16)
def _decoded(labels: str) -> Any:
    """The JSON of a row, which each requirement asks anew."""
    return msgspec.json.decode(labels)


def _labels_match(labels: str | None, requirement: str) -> bool:
    return _requirement(requirement).matches(_decoded(labels) if labels else {})


def _facts_match(facts: str | None, requirement: str) -> bool:
    asked = _requirement(requirement)
    fact = _fact(_decoded(facts), _FACTS[asked.key]) if facts else ""
    return asked.matches({asked.key: fact} if fact else {})


def _label_matches(value: str, requirement: str) -> bool:
    asked = _requirement(requirement)
    return asked.matches({asked.key: value})


@receiver(connection_created)
def add_functions(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:  # noqa: ARG001 -- a receiver
    """Give each connection to SQLite the functions that conditions call there."""
    if connection.vendor == "sqlite":
        for name, function in (
            ("labels_match", _labels_match),
            ("facts_match", _facts_match),
            ("label_matches", _label_matches),
        ):
            connection.connection.create_function(name, 2, function, deterministic=True)
