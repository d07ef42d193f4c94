"""The page Events and its parts: the list by keyset, facets, bars over time, and how many came since."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.admin.event_query import EVER, NAMES, PRESETS, EventQuery, families, family_words, kind_words
from agents.api.history import SEARCH_TIMEOUT_MS
from agents.models import Event, Service
from agents.models.instance import Dialect
from agents.selectors.event_counts import (
    FACETS,
    NEW_MAX,
    Bars,
    Counts,
    bars_of,
    counted_max,
    counts_of,
    newer_than,
)
from agents.selectors.groups import groups
from agents.selectors.history import history
from controlplane.access.policy import may_administer
from controlplane.common.database import TookTooLong, read_in_order, statements_within
from controlplane.common.rest.cursors import Order
from controlplane.console.charts import Chart, Line, chart_response
from controlplane.console.formatting import BAD, MUTE, WARN, Words

PAGE_ROWS: Final = 50
# Characters of a traceback that a row unfolds; its page has all.
TRACEBACK_SHOWN: Final = 2000
VALUES_SHOWN: Final = 8
GROUPS_OFFERED: Final = 500
_OLDER, _NEWER = Order(("occurred_at", "id"), descending=True), Order(("occurred_at", "id"))
_TONES: Final = {Event.Level.INFO: MUTE, Event.Level.WARN: WARN, Event.Level.ERROR: BAD}
TITLES: Final[dict[str, Words]] = {
    "q": _("Search"),
    "kind": _("Kind"),
    "level": _("Level"),
    "service": _("Service"),
    "environment": _("Environment"),
    "dialect": _("Dialect"),
    "task_name": _("Task"),
    "actor": _("By"),
    "instance_id": _("Instance"),
    "command_id": _("Command"),
    "subject": _("Changed"),
    "selector": _("Selector of instances"),
    "group": _("Group of instances"),
}
TOO_WIDE = _("This took too long to look up. Name a shorter time, a service, or rarer words.")


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, newest first, and where the list goes on in both directions."""

    result_list: list[Event]
    newer: str
    older: str
    opts: Any

    @property
    def result_count(self) -> int:
        return len(self.result_list)


@dataclass(frozen=True, slots=True)
class FacetValue:
    label: Words
    count: int
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    name: str
    title: Words
    values: list[FacetValue]
    left_out: int
    is_whole: bool


def event_list(request: HttpRequest) -> TemplateResponse:
    """The page; facets, bars and the number of new events come in parts after it."""
    query, rows = _asked(request)
    for problem in query.wrong:
        messages.error(request, problem)
    page = _page(request, query, rows)
    first = page.result_list[0] if page.result_list else None
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": gettext("Events"),
        "is_fullwidth": "1",
        "cl": page,
        "opts": Event._meta,
        "query": query,
        "hidden": {name: text for name, text in query.written.items() if name not in {"q", "selector", "group"}},
        "search": query.written.get("q", ""),
        "chips": _chips(query),
        "presets": [(key, words, query.url(since=key, **{"from": "", "to": ""})) for key, (_age, words) in _spans()],
        "families": families(),
        "groups": list(groups().values_list("name", flat=True)[:GROUPS_OFFERED]),
        "from_text": _typed(query.after),
        "to_text": _typed(query.before),
        "chart_url": query.url("events_chart"),
        "facets_url": query.url("events_facets"),
        "new_url": query.url("events_new", after=_place(first) if first else _place_now(query)),
        "first_url": query.url(),
        "wider_url": query.url(since=EVER, **{"from": "", "to": ""}) if query.since != EVER else "",
        "is_first": "before" not in request.GET and "after" not in request.GET,
        "csv_url": query.file_url("csv"),
        "ndjson_url": query.file_url("ndjson"),
        "view_query": urlencode(query.parameters()),
    }
    return TemplateResponse(request, "admin/agents/event/list.html", context)


def event_facets(request: HttpRequest) -> TemplateResponse:
    """How many of the newest matching events have which value; one statement, and one more per filter that is set."""
    query, _rows = _asked(request)
    context: dict[str, Any] = {"query": query, "limit": counted_max(is_searched=query.is_searched)}
    try:
        with statements_within(SEARCH_TIMEOUT_MS):
            _go_by_order(query)
            context["facets"] = _facets(request, query)
    except TookTooLong:
        context["problem"] = TOO_WIDE
    return TemplateResponse(request, "admin/agents/event/facets.html", context)


def event_chart(request: HttpRequest) -> HttpResponse:
    """Bars of events by level over the chosen time."""
    query, rows = _asked(request)
    begin, end = query.span
    try:
        with statements_within(SEARCH_TIMEOUT_MS):
            _go_by_order(query)
            bars = bars_of(rows, begin, end, is_searched=query.is_searched)
    except TookTooLong:
        return HttpResponse(str(TOO_WIDE), status=503, content_type="text/plain; charset=utf-8")
    lines = [
        Line(str(level), _words_of(level, bars), bars.by_level[level], _TONES[Event.Level(level)])
        for level in Event.Level.values
        if bars.by_level
    ]
    width_s = max(1, round(bars.width.total_seconds()))
    return chart_response(Chart(bars.begins, width_s, "count", lines), at=query.now)


def event_new(request: HttpRequest) -> TemplateResponse:
    """How many events came since the page was shown; the list itself does not jump."""
    query, rows = _asked(request)
    place = _read_place(request.GET.get("after", ""))
    count = 0
    if place is not None:
        try:
            with statements_within(SEARCH_TIMEOUT_MS):
                count = newer_than(rows, *place)
        except TookTooLong:
            count = 0
    context = {"count": count, "is_more": count >= NEW_MAX, "first_url": query.url()}
    return TemplateResponse(request, "admin/agents/event/new.html", context)


def _go_by_order(query: EventQuery) -> None:
    """Read from the newest on what is narrowed by level or kind alone: no other way is shorter, though to PostgreSQL
    it seems so."""
    narrowed = query.written.keys()
    if narrowed and narrowed <= {"level", "kind"} and len(query.chosen("kind")) <= 1:
        read_in_order()


def _asked(request: HttpRequest) -> tuple[EventQuery, QuerySet[Event]]:
    if not request.user.has_perm("agents.view_event"):
        raise PermissionDenied
    query = EventQuery.read(request.GET)
    return query, query.rows(administrator=may_administer(request))


def _page(request: HttpRequest, query: EventQuery, rows: QuerySet[Event]) -> EventPage:
    """One page by keyset: a deep one costs what the first costs."""
    newer, older = _read_place(request.GET.get("after", "")), _read_place(request.GET.get("before", ""))
    shown = _shown(rows)
    try:
        with statements_within(SEARCH_TIMEOUT_MS):
            found: list[Event]
            if newer is not None:
                found = list(_NEWER.apply(shown.filter(_NEWER.after(newer)))[: PAGE_ROWS + 1])
            else:
                place = _OLDER.apply(shown.filter(_OLDER.after(older)) if older is not None else shown)
                found = list(place[: PAGE_ROWS + 1])
            if not found and "q" in query.values:
                found = list(_by_id(request, query))
    except TookTooLong:
        messages.error(request, str(TOO_WIDE))
        found = []
    is_more, items = len(found) > PAGE_ROWS, found[:PAGE_ROWS]
    if newer is not None:
        items.reverse()
    has_newer, has_older = (is_more, True) if newer is not None else (older is not None, is_more)
    return EventPage(
        items,
        query.url(after=_place(items[0])) if items and has_newer else "",
        query.url(before=_place(items[-1])) if items and has_older else "",
        Event._meta,
    )


# As the portal and the agents write them; what people search for besides seldom looks so.
_LIKE_AN_ID: Final = re.compile(r"(?=.*\d)[!-~]+-[!-~]+")


def _shown(rows: QuerySet[Event]) -> "QuerySet[Any, Event]":
    """With what a row of the list shows, and no more of the wide columns."""
    found = rows.select_related("service", "instance").defer("traceback", "meta")
    return found.annotate(traceback_head=Substr("traceback", 1, TRACEBACK_SHOWN + 1))


def _by_id(request: HttpRequest, query: EventQuery) -> "QuerySet[Any, Event]":
    """The event of which somebody pasted the id into the search, whenever it was: no index begins with ids, and each
    partition is looked through."""
    text = str(query.values["q"]).strip()
    rows = history(administrator=may_administer(request)).filter(event_id=text)
    return _shown(rows if _LIKE_AN_ID.fullmatch(text) else rows.none())[:1]


def _place(row: Event) -> str:
    """Where a row stands in the list, as an address says it."""
    return f"{row.occurred_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{row.pk}"


def _place_now(query: EventQuery) -> str:
    return f"{query.now.astimezone(UTC):%Y%m%dT%H%M%S.%f}-0"


def _read_place(text: str) -> tuple[datetime, int] | None:
    moment, _dash, pk = text.partition("-")
    try:
        at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
        return (at, int(pk)) if pk.isascii() and pk.isdecimal() and len(pk) < 19 else None
    except ValueError:
        return None


def _typed(moment: datetime | None) -> str:
    """A time as a field of a form takes it: in the time zone of the page."""
    return timezone.localtime(moment).strftime("%Y-%m-%dT%H:%M:%S") if moment is not None else ""


def _spans() -> Sequence[tuple[str, tuple[Any, Words]]]:
    return [*PRESETS.items(), (EVER, (None, _("All time")))]


def _chips(query: EventQuery) -> list[dict[str, object]]:
    """Each value that narrows the list, with the address of the list without it."""
    found: list[dict[str, object]] = []
    for name in NAMES:
        for value in query.chosen(name):
            words = kind_words(value) if name == "kind" else _value_words(name, value)
            url = query.toggled(name, value) if name in {"kind", "level"} else query.url(**{name: ""})
            found.append({"title": TITLES[name], "value": words, "url": url})
    return found


def _value_words(facet: str, value: str) -> Words:
    choices: dict[str, Any] = {"level": Event.Level, "dialect": Dialect}
    of = choices.get(facet)
    return of(value).label if of is not None and value in of.values else value


def _words_of(level: str, bars: Bars) -> str:
    """What a line of the chart is called; it says where its figures are reckoned."""
    words = str(Event.Level(level).label)
    return f"≈ {words}" if bars.is_estimated else words


def _facets(request: HttpRequest, query: EventQuery) -> list[Facet]:
    """A facet counts what the other filters leave, so that one more of its values can be chosen."""
    administrator = may_administer(request)
    columns = {"kind": "kind", "level": "level", "service_id": "service", "dialect": "dialect"}
    names = {facet: columns.get(facet, facet) for facet in FACETS}
    free = [facet for facet in FACETS if not query.chosen(names[facet])]
    is_searched = query.is_searched
    of_all = counts_of(query.rows(administrator=administrator), free, is_searched=is_searched)
    counted = dict.fromkeys(free, of_all)
    for facet in FACETS:
        if facet not in counted:
            away = (names[facet], "environment") if facet == "service_id" else (names[facet],)
            counted[facet] = counts_of(
                query.without(*away).rows(administrator=administrator), [facet], is_searched=is_searched
            )
    found = [_families(query, counted["kind"])]
    found += [_facet(query, names[each], counted[each], each) for each in ("level", "kind") if each in counted]
    found += _services(query, counted["service_id"])
    return found + [_facet(query, each, counted[each], each) for each in ("dialect", "task_name", "actor")]


def _families(query: EventQuery, counts: Counts) -> Facet:
    """Kinds by what comes before their dot."""
    by_family: dict[str, int] = {}
    for kind, count in counts.by_facet["kind"].items():
        family = str(kind).partition(".")[0]
        by_family[family] = by_family.get(family, 0) + count
    chosen = query.chosen("kind")
    for family in {each.partition(".")[0] for each in chosen if each.endswith(".*")}:
        by_family.setdefault(family, 0)
    values = [
        FacetValue(family_words(family), count, query.toggled("kind", f"{family}.*"), f"{family}.*" in chosen)
        for family, count in sorted(by_family.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    return Facet("family", _("About"), values, 0, counts.is_whole)


def _facet(query: EventQuery, name: str, counts: Counts, facet: str) -> Facet:
    found = dict(counts.by_facet[facet])
    chosen = [each for each in query.chosen(name) if not each.endswith(".*")]
    for each in chosen:
        found.setdefault(each, 0)
    ordered = sorted(found.items(), key=lambda pair: (pair[0] not in chosen, -pair[1], str(pair[0])))
    values = [
        FacetValue(
            kind_words(str(value)) if name == "kind" else _value_words(name, str(value)),
            count,
            query.toggled(name, str(value)),
            value in chosen,
        )
        for value, count in ordered[:VALUES_SHOWN]
    ]
    return Facet(name, TITLES[name], values, max(0, len(ordered) - VALUES_SHOWN), counts.is_whole)


def _services(query: EventQuery, counts: Counts) -> list[Facet]:
    """Services and their environments, by one statement for the names of those that are shown."""
    by_service = counts.by_facet["service_id"]
    rows = {row.pk: row for row in Service.objects.filter(pk__in=list(by_service)).only("name", "environment")}
    by_name: dict[tuple[str, str], int] = {}
    by_environment: dict[str, int] = {}
    for pk, count in by_service.items():
        if pk in rows:
            row = rows[pk]
            by_name[row.environment, row.name] = by_name.get((row.environment, row.name), 0) + count
            by_environment[row.environment] = by_environment.get(row.environment, 0) + count
    name, environment = query.written.get("service", ""), query.written.get("environment", "")
    most = sorted(by_name.items(), key=lambda pair: (pair[0][1] != name, -pair[1], pair[0]))
    services = [
        FacetValue(
            f"{each[0]}/{each[1]}",
            count,
            query.url(service="") if each[1] == name else query.url(service=each[1], environment=each[0]),
            each[1] == name and environment in {"", each[0]},
        )
        for each, count in most[:VALUES_SHOWN]
    ]
    environments = [
        FacetValue(each, count, query.toggled("environment", each), each == environment)
        for each, count in sorted(by_environment.items(), key=lambda pair: (-pair[1], pair[0]))[:VALUES_SHOWN]
    ]
    left_out = max(0, len(by_environment) - VALUES_SHOWN)
    return [
        Facet("environment", TITLES["environment"], environments, left_out, counts.is_whole),
        Facet("service", TITLES["service"], services, max(0, len(most) - VALUES_SHOWN), counts.is_whole),
    ]
