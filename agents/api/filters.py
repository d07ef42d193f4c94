"""What the product's own collections can be narrowed by."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from rest_framework import serializers

from agents.api.paths import CommandIdField
from agents.api.queries import archived_choice
from agents.api.selecting import group_filter, of_itself, selector_filter
from agents.models import Command, Event, Service, Session
from agents.models.command import CommandKind
from agents.models.event import NOTABLE, ROUTINE_KINDS, EventKind
from agents.models.instance import Connectivity, Dialect, Health
from agents.selectors.events import services_with_task
from agents.selectors.facts import TEXT_MAX as FACT_TEXT_MAX
from agents.selectors.facts import WORDS_MIN, Fact, FactInvalid, mentioning_q, parse_fact, with_fact
from agents.selectors.history import mentioning
from controlplane.common.rest.fields import FlagField, IdField, TextField, TimestampField
from controlplane.common.rest.filters import ApiFilter, CommaField, Filters, any_of, exact_name, exactly, named
from controlplane.common.search import TEXT_MAX, SearchInvalid, parse

SERVICE_HELP = "Exact name of the service."
ENVIRONMENT_HELP = "Exact name of the environment."
TASK_HELP = "Exact name of the task."
PART_MAX = 255
FACTS_MAX = 10
FACT_HELP = "`path=value`, as in `cpu_number=8` or `os.name=linux`; repeat it for several, which must all hold."
SERVICES_MAX = 200


def _holds(text: str) -> Q:
    if not text:
        return Q()
    return (
        Q(node_name__icontains=text)
        | Q(hostname__icontains=text)
        | Q(external_id__icontains=text)
        | Q(service__name__icontains=text)
    )


def by_id(path: str) -> ApiFilter:
    return ApiFilter(IdField(required=False), exactly(path))


class FactsField(serializers.ListField):
    """Conditions on facts, each a Fact; all must hold."""

    child = TextField(max_length=FACT_TEXT_MAX)
    default_error_messages = {"fact": "{problem}"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=FACTS_MAX, help_text=FACT_HELP, **kwargs)

    def to_internal_value(self, data: Any) -> list[Fact]:
        try:
            return [parse_fact(text) for text in super().to_internal_value(data)]
        except FactInvalid as exc:
            self.fail("fact", problem=str(exc))


def _with_facts(facts: list[Fact]) -> Q:
    matched = Q()
    for fact in facts:
        matched &= with_fact(fact)
    return matched


class InstanceFilters(Filters):
    service = named("service__name", SERVICE_HELP)
    environment = named("service__environment", ENVIRONMENT_HELP)
    dialect = any_of("dialect", Dialect)
    connectivity = any_of("connectivity", Connectivity)
    health = any_of("health", Health)
    fact = ApiFilter(FactsField(), _with_facts)
    # Applied by the selector, also where it is not given.
    archived = ApiFilter(archived_choice(), lambda _archived: Q())
    selector = selector_filter(of_itself)
    group = group_filter(of_itself)
    q = ApiFilter(
        TextField(
            required=False,
            allow_blank=True,
            max_length=PART_MAX,
            help_text="Sought in node names, host names, ids and service names, in any case.",
        ),
        _holds,
    )


class InventoryFilters(InstanceFilters):
    facts = ApiFilter(
        TextField(
            required=False,
            min_length=WORDS_MIN,
            max_length=PART_MAX,
            help_text="Sought in all names and values of facts, in any case; this reads all facts.",
        ),
        mentioning_q,
    )


class CommandFilters(Filters):
    service = named("service__name", SERVICE_HELP)
    environment = named("service__environment", ENVIRONMENT_HELP)
    instance_id = by_id("instance")
    task_name = named("task_name", TASK_HELP)
    kind = any_of("kind", CommandKind)
    status = any_of("status", Command.Status)
    selector = selector_filter()
    group = group_filter()


class SessionFilters(Filters):
    service = named("service__name", SERVICE_HELP)
    environment = named("service__environment", ENVIRONMENT_HELP)
    instance_id = by_id("instance")
    status = any_of("status", Session.Status)
    selector = selector_filter()
    group = group_filter()


FAMILIES = tuple(sorted({f"{kind.partition('.')[0]}.*" for kind in EventKind.values}))


class SearchField(TextField):
    """A search, in the syntax of controlplane.common.search."""

    default_error_messages = {"search": "Input should be a search: {problem}"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        try:
            parse(text)
        except SearchInvalid as exc:
            self.fail("search", problem=str(exc))
        return text


def _of_kinds(wanted: list[str]) -> Q:
    """Of these kinds and families; said twice where none is routine, since another index has only such events."""
    kinds = [kind for kind in EventKind.values if kind in wanted or f"{kind.partition('.')[0]}.*" in wanted]
    return Q(kind__in=kinds) & (Q() if set(kinds) & set(ROUTINE_KINDS) else NOTABLE)


def _of_levels(levels: list[str]) -> Q:
    """Of these levels; routine is told as information alone, and without it another index has the rest."""
    return Q(level__in=levels) & (Q() if Event.Level.INFO in levels else NOTABLE)


class HistoryFilters(Filters):
    SERVICE_COLUMNS: ClassVar = {"service": "name", "environment": "environment"}

    kind = ApiFilter(
        CommaField([*EventKind.values, *FAMILIES], help_text="One or more, by comma; `task.*` means all of a family."),
        _of_kinds,
    )
    level = ApiFilter(CommaField(Event.Level.values, help_text="One or more, by comma."), _of_levels)
    service = named("service__name", SERVICE_HELP)
    environment = named("service__environment", ENVIRONMENT_HELP)
    instance_id = by_id("instance")
    command_id = ApiFilter(CommandIdField(required=False, help_text="`cmd_` and 32 hex digits."), exactly("command_id"))
    # The index of tasks is limited to events that have one.
    task_name = ApiFilter(exact_name(TASK_HELP), lambda task_name: Q(task_name=task_name) & ~Q(task_name=""))
    actor = ApiFilter(
        TextField(required=False, max_length=PART_MAX, help_text="The user or token that did it, exactly."),
        lambda actor: Q(actor=actor) & ~Q(actor=""),
    )
    subject = ApiFilter(
        TextField(required=False, max_length=PART_MAX, help_text="What was changed, exactly, as in `auth.user:3`."),
        lambda subject: Q(subject=subject) & ~Q(subject=""),
    )
    occurred_after = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("occurred_at__gte"))
    occurred_before = ApiFilter(TimestampField(required=False, help_text="Inclusive."), exactly("occurred_at__lte"))
    notable = ApiFilter(
        FlagField(help_text="Without, or with nothing but, what healthy work writes: tasks started and succeeded."),
        lambda is_notable: NOTABLE if is_notable else ~NOTABLE,
    )
    selector = selector_filter()
    group = group_filter()
    # Applied below, to what the others leave.
    q = ApiFilter(
        SearchField(
            required=False,
            max_length=TEXT_MAX,
            help_text=(
                "Sought in message, exception, task, failure, actor and the head of the traceback of notable events: "
                'words (all of them), `"a phrase"`, `-not`, `or`.'
            ),
        ),
        lambda _search: Q(),
    )

    @classmethod
    def narrow(cls, rows: QuerySet[Any], values: Mapping[str, Any]) -> QuerySet[Any]:
        """Few services are looked up before: of those whose numbers are known PostgreSQL knows how much there is.

        A join would make it read the whole history for an environment in which hardly anything happens. So would the
        name of a task that few have, or none.
        """
        wanted = {column: values[name] for name, column in cls.SERVICE_COLUMNS.items() if name in values}
        if wanted or "task_name" in values:
            services = services_with_task(values["task_name"]) if "task_name" in values else Service.objects.order_by()
            found = list(services.filter(**wanted).values_list("pk", flat=True)[: SERVICES_MAX + 1])
            if len(found) <= SERVICES_MAX:
                rows = rows.filter(service=found[0]) if len(found) == 1 else rows.filter(service__in=found)
                values = {name: value for name, value in values.items() if name not in cls.SERVICE_COLUMNS}
        rows = super().narrow(rows, values)
        return mentioning(rows, values["q"]) if "q" in values else rows
