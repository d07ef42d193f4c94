"""Whom a selector singles out of the fleet, how narrowly others miss it, and what labels there are to ask for."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from agents.labels import Selector
from agents.models import Instance
from agents.selectors.labels import labels_of, matching, near_examples, requirements_of, survey
from agents.selectors.visibility import Environments, within

SAMPLE: Final = 10
NEAR_REQUIREMENTS: Final = 4
NEAR_SAMPLE: Final = 3
# The labels of so many instances, the newest, stand for those of the fleet.
VOCABULARY_INSTANCES: Final = 500
VOCABULARY_KEYS: Final = 60
VOCABULARY_VALUES: Final = 5


@dataclass(frozen=True, slots=True)
class Near:
    """An instance that fails one requirement alone: the label of its key there, None where it has none."""

    instance: Instance
    label: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One requirement of a selector: how many instances fail it, and how many fail it alone, with examples of these."""

    selector: Selector
    excluded: int
    missed: int
    examples: list[Near] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The key of the label that is asked for."""
        return requirements_of(self.selector)[0].key

    @property
    def text(self) -> str:
        return str(self.selector)


@dataclass(frozen=True, slots=True)
class Match:
    """What a selector finds: counts over all that the requester may see, and a few instances to recognise it by."""

    selector: Selector
    total: int
    matching: int
    parts: list[Part]
    sample: list[Instance]
    warnings: list[str]

    @property
    def near_misses(self) -> list[Part]:
        return sorted((part for part in self.parts if part.missed), key=lambda part: -part.missed)


def eligible(rows: QuerySet[Instance], environments: Environments = None) -> QuerySet[Instance]:
    """Those of `rows` that a selector may find: of these environments, and not archived."""
    return rows.filter(within(environments, "service__environment"), archived_at=None)


def matches(selector: Selector, *, environments: Environments = None) -> QuerySet[Instance]:
    """The instances that a selector finds now, by name, with their service."""
    rows = eligible(Instance.objects.select_related("service"), environments)
    return matching(rows, selector).order_by("node_name", "id")


def match(selector: Selector, *, environments: Environments = None) -> Match:
    """What a selector finds now. One query reads the fleet to count; examples take a query for each of the
    NEAR_REQUIREMENTS that most instances fail alone, and two for the labels of all these."""
    rows = eligible(Instance.objects.order_by(), environments)
    counts = survey(rows, selector)
    nearest = sorted(range(len(counts.missed)), key=lambda number: -counts.missed[number])[:NEAR_REQUIREMENTS]
    examples = [
        near_examples(rows, selector, number, NEAR_SAMPLE) if missed and number in nearest else []
        for number, missed in enumerate(counts.missed)
    ]
    nears = _nears(selector, examples)
    parts = [Part(*each) for each in zip(selector.parts(), counts.excluded, counts.missed, nears, strict=True)]
    return Match(
        selector=selector,
        total=counts.total,
        matching=counts.matching,
        parts=parts,
        sample=list(matches(selector, environments=environments)[:SAMPLE]) if counts.matching else [],
        warnings=_warnings(selector, counts.total, parts),
    )


def _nears(selector: Selector, examples: list[list[Instance]]) -> list[list[Near]]:
    """The examples of each requirement with what their label is instead."""
    found = [instance for each in examples for instance in each]
    labels = labels_of(found) if found else {}
    return [
        [Near(instance, labels[instance.pk].effective.get(requirement.key)) for instance in each]
        for requirement, each in zip(requirements_of(selector), examples, strict=True)
    ]


def _warnings(selector: Selector, total: int, parts: list[Part]) -> list[str]:
    warnings = [] if selector else [_("An empty selector matches every instance.")]
    for part in parts:
        if total and part.excluded == total:
            warnings.append(_("No instance meets “%s”: look for a slip in its key or values.") % part.text)
        elif total and not part.excluded:
            warnings.append(_("Every instance meets “%s”: it narrows nothing.") % part.text)
    return warnings


@dataclass(frozen=True, slots=True)
class KnownValue:
    """A value that labels of a key have, of how many instances of the sample."""

    requirement: str
    shown: str
    count: int


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that labels have: of how many instances of the sample, and the most frequent values."""

    key: str
    instances: int
    values: list[KnownValue]
    more_values: int


def known_keys(*, environments: Environments = None) -> list[KnownKey]:
    """What labels there are, the most frequent keys first: of the VOCABULARY_INSTANCES newest instances."""
    newest = eligible(Instance.objects.select_related("service"), environments).order_by("-created_at", "-id")
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for labels in labels_of(list(newest[:VOCABULARY_INSTANCES])).values():
        for key, value in labels.effective.items():
            values[key][value] += 1
    keys = sorted(values, key=lambda key: (-values[key].total(), key))[:VOCABULARY_KEYS]
    return [_known_key(key, values[key]) for key in keys]


def _known_key(key: str, found: Counter[str]) -> KnownKey:
    frequent = [
        KnownValue(str(Selector(match_labels=((key, value),))), value or '""', count)
        for value, count in found.most_common(VOCABULARY_VALUES)
    ]
    return KnownKey(key, found.total(), frequent, max(0, len(found) - VOCABULARY_VALUES))
