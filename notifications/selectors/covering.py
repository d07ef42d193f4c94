"""What covers the subjects of messages: the engine's cover, with what of the fleet it is asked of."""

from collections.abc import Collection, Hashable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from agents.labels import Selector, SelectorInvalid
from agents.models import Instance, Service
from agents.selectors.instances import kept
from agents.selectors.labels import matches_q
from notifications.engine.covers import DILUTED, Trait, by_service, candidates, cover, cover_text, traits_of

# Of more subjects a cover is told by so many of them.
SUBJECTS_MAX: Final = 5000
# So many traits are counted at once, those of the largest groups.
ASKED_MAX: Final = 200
_COLUMNS: Final = ("pk", "hostname", "deployment_version", "service__name", "service__environment", "labels__effective")
_KeyT = TypeVar("_KeyT", bound=Hashable)


def covers_of_instances(groups: Mapping[_KeyT, Collection[UUID]]) -> dict[_KeyT, str]:
    """What each group of instances has in common, in few words; empty where it is nothing. Two queries."""
    ids = list(dict.fromkeys(each for group in groups.values() for each in group))[:SUBJECTS_MAX]
    if not ids:
        return {}
    rows: Any = Instance.objects.filter(pk__in=ids).order_by().values_list(*_COLUMNS)
    traits = {
        pk: traits_of(service=f"{environment}/{name}", host=host, version=version, labels=labels or {})
        for pk, host, version, name, environment, labels in rows
    }
    subjects = {key: [traits[each] for each in group if each in traits] for key, group in groups.items()}
    asked: dict[Trait, int] = {}
    for group in sorted(subjects.values(), key=len, reverse=True):
        if len(asked) < ASKED_MAX:
            for trait in candidates(group):
                asked[trait] = max(asked.get(trait, 0), DILUTED * len(group) + 1)
    among = _numbers(asked)
    return {key: cover_text(cover(group, _of(group, among))) for key, group in subjects.items() if len(group) > 1}


def covers_by_service(groups: Mapping[_KeyT, Collection[int]]) -> dict[_KeyT, str]:
    """Which services the subjects of each group are of. One query."""
    wanted = {each for group in groups.values() for each in group}
    rows = Service.objects.filter(pk__in=wanted).values_list("pk", "environment", "name") if wanted else ()
    names = {pk: f"{environment}/{name}" for pk, environment, name in rows}
    return {key: cover_text(by_service(names.get(each, "") for each in group)) for key, group in groups.items()}


def _of(subjects: Collection[Collection[Trait]], among: Mapping[Trait, int]) -> dict[Trait, int]:
    return {trait: among[trait] for trait in candidates(list(subjects)) if trait in among}


def _numbers(asked: Mapping[Trait, int]) -> dict[Trait, int]:
    """How many instances have each trait, counted no further than said. One query, a search of an index for each."""
    parts: list[str] = []
    parameters: list[Any] = []
    traits: list[Trait] = []
    for trait, most in asked.items():
        rows = _having(trait)
        if rows is None:
            continue
        try:
            sql, params = rows.order_by().values("pk")[:most].query.sql_with_params()
        except EmptyResultSet:
            continue
        traits.append(trait)
        # Django's own SQL; what anybody wrote is in the parameters.
        parts.append(f"SELECT {len(traits) - 1}, (SELECT count(*) FROM ({sql}) AS having_it)")  # noqa: S608
        parameters += params
    if not parts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        return {traits[number]: count for number, count in cursor.fetchall()}


def _having(trait: Trait) -> "QuerySet[Instance] | None":
    match trait.kind:
        case "service":
            environment, _slash, name = trait.value.partition("/")
            return kept().filter(service__name=name, service__environment=environment)
        case "host":
            return kept().filter(hostname=trait.value)
        case "version":
            return kept().filter(deployment_version=trait.value)
    try:
        return kept().filter(matches_q(Selector(match_labels=((trait.key, trait.value),))))
    except SelectorInvalid:
        return None
