"""What the page of a service shows: how it is, its instances a page at a time, and its latest history."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.paginator import Page
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.http import QueryDict
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.fan_out_rows import CountedPaginator
from agents.models import Command, FanOut, Instance, Service, Session
from agents.models.instance import Connectivity, Health
from agents.selectors.census import UNWELL
from agents.selectors.events import notable_events
from agents.selectors.fan_outs import running
from agents.selectors.presence import Presence, presences
from agents.selectors.sessions import sessions

INSTANCES_SHOWN: Final = 25
EVENTS_SHOWN: Final = 15
COMMANDS_SHOWN: Final = 10
SESSIONS_SHOWN: Final = 8
RUNNING_SHOWN: Final = 3
SEARCH_MAX_CHARS: Final = 100

STATES: Final[dict[str, Any]] = {
    "": _("All"),
    "online": _("Online"),
    "unconnected": _("Online, not connected"),
    "unwell": _("Unwell"),
    "offline": _("Offline"),
    "never_reported": _("Never reported"),
}


def shown_instances(service: Service) -> QuerySet[Instance]:
    """Those that are not archived; all of a service that is archived itself."""
    rows = Instance.objects.filter(service=service)
    return rows if service.archived_at else rows.filter(archived_at=None)


@dataclass(frozen=True, slots=True)
class Condition:
    """How the instances of a service are: by connectivity, and of those online by the health that they claim."""

    connectivity: Counter[str] = field(default_factory=Counter)
    health: Counter[str] = field(default_factory=Counter)
    connected: int = 0
    inflight: int = 0

    @property
    def total(self) -> int:
        return self.connectivity.total()

    @property
    def unwell(self) -> int:
        return sum(self.health[health] for health in UNWELL)

    @property
    def fleet_state(self) -> str:
        online = self.connectivity[Connectivity.ONLINE]
        return "empty" if not self.total else "none" if not online else "all" if online == self.total else "some"

    @property
    def health_counts(self) -> list[tuple[str, Any, int]]:
        return [(value, label, self.health[value]) for value, label in Health.choices if self.health[value]]


def condition_of(service: Service) -> Condition:
    """One statement over the instances of the service."""
    active = Session.objects.filter(instance=OuterRef("pk"), status=Session.Status.ACTIVE)
    rows = (
        shown_instances(service)
        .order_by()
        .annotate(has_session=Exists(active))
        .values_list("connectivity", "health", "has_session")
        .annotate(count=Count("pk"), inflight=Sum("inflight_tasks"))
    )
    connectivity: Counter[str] = Counter()
    healths: Counter[str] = Counter()
    connected = busy = 0
    for state, health, has_session, count, inflight in rows:
        connectivity[state] += count
        if state == Connectivity.ONLINE:
            healths[health] += count
            connected += count if has_session else 0
            busy += inflight or 0
    return Condition(connectivity, healths, connected, busy)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """How the list of instances is narrowed, as it stands in the query of the page."""

    state: str = ""
    search: str = ""
    topology: str = ""
    number: str = "1"

    @classmethod
    def of(cls, query: QueryDict) -> "Narrowed":
        state = query.get("state", "")
        return cls(
            state=state if state in STATES else "",
            search=query.get("q", "").strip().replace("\x00", "")[:SEARCH_MAX_CHARS],
            topology=query.get("topology", "").replace("\x00", "")[:255],
            number=query.get("p", "1"),
        )

    def url(self, **changes: Any) -> str:
        """The same page with these changes; a page number is not carried."""
        query = {"state": self.state, "q": self.search, "topology": self.topology} | changes
        return f"?{urlencode({name: value for name, value in query.items() if value})}#service-instances"

    @property
    def is_narrowed(self) -> bool:
        return bool(self.state or self.search or self.topology)

    def condition(self) -> Q:
        wanted = Q()
        if self.state == "unwell":
            wanted &= Q(connectivity=Connectivity.ONLINE, health__in=UNWELL)
        elif self.state == "unconnected":
            active = Session.objects.filter(instance=OuterRef("pk"), status=Session.Status.ACTIVE)
            wanted &= Q(~Exists(active), connectivity=Connectivity.ONLINE)
        elif self.state:
            wanted &= Q(connectivity=self.state)
        if self.topology:
            wanted &= Q(last_topology_hash=self.topology)
        if self.search:
            wanted &= (
                Q(node_name__icontains=self.search)
                | Q(hostname__icontains=self.search)
                | Q(external_id__istartswith=self.search)
                | Q(deployment_version__iexact=self.search)
            )
        return wanted


def instances_page(service: Service, narrowed: Narrowed) -> Page[Instance]:
    """A page of the instances that are asked for, those that are not well first. Two queries."""
    rows = shown_instances(service).filter(narrowed.condition())
    # The names of the states happen to sort like this: never reported, offline, online.
    ordered = rows.order_by("connectivity", "node_name", "pk")
    return CountedPaginator(ordered, INSTANCES_SHOWN, count=rows.order_by().count()).get_page(narrowed.number)


def live_context(service: Service, query: QueryDict) -> dict[str, object]:
    """What moves on the page. Ten queries, whatever the size of the service."""
    narrowed = Narrowed.of(query)
    condition = condition_of(service)
    page = instances_page(service, narrowed)
    here = list(page.object_list)
    return {
        "condition": condition,
        "fleet_words": gettext("%(online)d of %(all)d online")
        % {"online": condition.connectivity[Connectivity.ONLINE], "all": condition.total},
        "counts": dict(condition.connectivity),
        "instance_total": condition.total,
        "connected": condition.connected,
        "instances_page": page,
        "presences": presences(here),
        "narrowed": narrowed,
        "state_choices": _choices(narrowed, condition),
        "previous_url": narrowed.url(p=page.previous_page_number()) if page.has_previous() else "",
        "next_url": narrowed.url(p=page.next_page_number()) if page.has_next() else "",
        "running": running_for(service),
        **_history(service),
    }


def _choices(narrowed: Narrowed, condition: Condition) -> list[tuple[str, Any, int, str]]:
    """Each state with how many instances are in it and where it leads; those of none are left out."""
    counts = {
        "": condition.total,
        "unwell": condition.unwell,
        "unconnected": condition.connectivity[Connectivity.ONLINE] - condition.connected,
        **{state: condition.connectivity[state] for state in Connectivity.values},
    }
    return [
        (state, label, counts[state], narrowed.url(state=state))
        for state, label in STATES.items()
        if counts[state] or state in {"", narrowed.state}
    ]


def running_for(service: Service) -> list[FanOut]:
    """Orders for the service that are still under way, newest first."""
    rows = running(FanOut.objects.filter(service=service))
    return list(rows.defer("args").order_by("-created_at", "-id")[:RUNNING_SHOWN])


def _history(service: Service) -> dict[str, object]:
    commands = Command.objects.filter(service=service).select_related("instance").defer("args", "result")
    return {
        "events": notable_events(service=service).select_related("instance")[:EVENTS_SHOWN],
        "commands": commands.order_by("-created_at", "-id")[:COMMANDS_SHOWN],
        "sessions": sessions(service=service)[:SESSIONS_SHOWN],
    }


def shown_presences(service: Service, chosen: Sequence[str], presented: list[Presence]) -> list[Presence]:
    """The presences that the form lets choose from: those of the page, and any others that were chosen before."""
    missing = [pk for pk in chosen if pk not in {str(each.instance.pk) for each in presented}]
    if not missing:
        return presented
    return [*presences(Instance.objects.filter(service=service, pk__in=missing)), *presented]
