"""Everything that happened: events of every kind, and the search through their texts."""

from collections.abc import Collection
from typing import Final

from django.db import connection
from django.db.models import BooleanField, Case, QuerySet, Value, When

from agents.models import Event, Service
from agents.models.event import NOTABLE
from agents.selectors.events import events_so_far
from agents.selectors.visibility import Environments, told_to, within
from controlplane.common.errors import NotFound
from controlplane.common.search import MayMention, Mentions

# Where a search looks, and how many characters of it. An index on PostgreSQL is made of just this, and a document may
# have 16,383 words there before their places are lost.
SEARCHED_TEXTS: Final = (
    ("message", 2000),
    ("exception_type", 255),
    ("task_name", 255),
    ("failure_kind", 64),
    ("actor", 255),
    ("traceback", 500),
)
# SQLite has no such index: there a search reads so many of the newest events that the other filters leave.
READ_MAX_ROWS: Final = 20_000
FREQUENT: Final = 10_000


def history(*, administrator: bool, environments: Environments = None) -> QuerySet[Event]:
    """Events of every kind that somebody may read, see `told_to`, with their service.

    Where it is gone, or there was none, its fields are None. Narrowed, it asks for the services first (one query more):
    of an environment in which hardly anything happens, PostgreSQL would else read all history for a page.
    """
    rows = events_so_far().filter(told_to(administrator=administrator)).select_related("service")
    if environments is None:
        return rows
    services = Service.objects.filter(within(environments, "environment"))
    return rows.filter(service__in=list(services.values_list("pk", flat=True)))


def mentioning(rows: QuerySet[Event], search: str) -> QuerySet[Event]:
    """Notable events of `rows` whose texts hold what is sought; see controlplane.common.search for the syntax.

    On SQLite the newest READ_MAX_ROWS of `rows` are looked through, and older ones are not found. On PostgreSQL a query
    finds out first how much there is.
    """
    rows, mentions = rows.filter(NOTABLE), Mentions(search, SEARCHED_TEXTS)
    if connection.vendor != "postgresql":
        return rows.filter(mentions, pk__in=rows.order_by("-occurred_at", "-id").values("pk")[:READ_MAX_ROWS])
    if _is_frequent(search):
        # In a CASE, which PostgreSQL takes for true of every other row, so that it reads from the newest on.
        return rows.filter(Case(When(mentions, then=Value(True)), default=Value(False), output_field=BooleanField()))
    # Both, though only phrases need to be read: of both it expects so few rows that it asks the index.
    return rows.filter(MayMention(search, SEARCHED_TEXTS), mentions)


def _is_frequent(search: str) -> bool:
    """Whether there is so much that reading the newest events until enough are found is cheaper than to sort it all.

    PostgreSQL cannot tell, since it uses no statistics of a partial index. Up to FREQUENT rows cost some 30 ms either
    way, of a million notable events.
    """
    found = Event.objects.filter(NOTABLE, MayMention(search, SEARCHED_TEXTS)).order_by()
    return found.values("pk")[:FREQUENT].count() == FREQUENT


def get_event(
    event_id: int, *, administrator: bool, environments: Environments = None, without: Collection[str] = ()
) -> Event:
    """The event with its service, or NotFound; columns in `without` are not read."""
    told = history(administrator=administrator, environments=environments)
    event = told.filter(pk=event_id).defer(*without).first()
    if event is None:
        raise NotFound(f"event {event_id} was not found", code="event_not_found")
    return event
