"""The history: events of every kind, newest first, with full-text search."""

from django.http.response import HttpResponseBase

from agents.api.filters import HistoryFilters
from agents.api.fleet import FleetView
from agents.api.serializers import HistorySerializer
from agents.models import Event
from agents.selectors.history import get_event, history
from controlplane.access.policy import may_administer
from controlplane.common.database import TookTooLong, statements_within
from controlplane.common.rest.collections import Collection, detail, detail_query, not_wanted
from controlplane.common.rest.errors import RequestInvalid, problem
from controlplane.common.rest.views import endpoint

HISTORY: Collection[Event] = Collection(
    name="history",
    item=HistorySerializer,
    filters=HistoryFilters,
    orderings={"occurred_at": ("occurred_at", "id")},
    default="-occurred_at",
    wide={"traceback": "traceback", "meta": "meta"},
)


# Frequent words that are sought as a phrase which hardly ever occurs may mean reading all history.
SEARCH_TIMEOUT_MS = 5000
TOO_WIDE = f"The search took longer than {SEARCH_TIMEOUT_MS} ms. Name a time, a service or rarer words."


class HistoryView(FleetView):
    """Everything that happened, in the portal and at its agents. Leave `traceback` and `meta` out where you can.

    What was done to people, their roles and their tokens, logins too, is there for administrators alone.
    """

    @endpoint("Events of every kind", query=HISTORY.query, responds=HISTORY.page, tagged=True)
    def get(self) -> HttpResponseBase:
        rows = history(administrator=may_administer(self.request), environments=self.environments)
        if "q" not in self.query:
            return HISTORY.answer(self, rows)
        try:
            with statements_within(SEARCH_TIMEOUT_MS):
                return HISTORY.answer(self, rows)
        except TookTooLong as exc:
            raise RequestInvalid([problem("search", ["query", "q"], TOO_WIDE, self.query["q"])]) from exc


class HistoryEventView(FleetView):
    @endpoint(
        "One event of any kind",
        query=detail_query(HistorySerializer),
        responds=HistorySerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        spared = not_wanted(self, HISTORY.wide)
        event = get_event(
            self.params["event_id"],
            administrator=may_administer(self.request),
            environments=self.environments,
            without=spared,
        )
        return detail(self, HistorySerializer, event)
