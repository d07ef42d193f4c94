"""What the list of events is narrowed to: its address, in the words of the API, and what is shorter to write.

The filters are those of `/api/v1/history`, so that a file of the API holds just what the page shows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from django.db.models import QuerySet
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from agents.api.filters import FAMILIES, HistoryFilters
from agents.api.history import HISTORY
from agents.models import Event, Service
from agents.models.event import EventKind
from agents.models.instance import Dialect
from agents.selectors.history import history
from controlplane.common.clean import clean_text
from controlplane.console.formatting import Words

PRESETS: Final[Mapping[str, tuple[timedelta, Words]]] = {
    "15m": (timedelta(minutes=15), _("Last 15 minutes")),
    "1h": (timedelta(hours=1), _("Last hour")),
    "6h": (timedelta(hours=6), _("Last 6 hours")),
    "1d": (timedelta(days=1), _("Last 24 hours")),
    "7d": (timedelta(days=7), _("Last 7 days")),
    "30d": (timedelta(days=30), _("Last 30 days")),
}
EVER: Final = "all"
# How far back the bars go where the list has no bound.
EVER_SHOWN: Final = timedelta(days=90)
# What narrows to so little that a day of it is often empty.
_OF_ONE: Final = frozenset({"subject", "actor", "instance_id", "command_id", "task_name", "service"})
NAMES: Final = (
    "q", "kind", "level", "service", "environment", "dialect", "task_name", "actor", "instance_id", "command_id",
    "subject", "selector", "group",
)  # fmt: skip
# As other pages, bookmarks and saved views write them.
_ALIASES: Final = {
    "kind__exact": "kind",
    "level__exact": "level",
    "instance__id__exact": "instance_id",
    "task": "task_name",
    "command": "command_id",
}
_LISTS: Final = ("kind", "level")
FAMILY_WORDS: Final[Mapping[str, Words]] = {
    "task": _("Tasks"),
    "instance": _("Instances"),
    "session": _("Sessions"),
    "service": _("Services"),
    "command": _("Commands"),
    "token": _("Tokens"),
    "object": _("Changes"),
    "schedule": _("Schedules"),
    "login": _("Logins"),
    "agent": _("Agents"),
    "ingest": _("Refused records"),
    "nodes_file": pgettext_lazy("events", "nodes.json"),
}


def family_words(family: str) -> Words:
    """What a family of kinds is called; one that this version has no words for is shown as it is."""
    return FAMILY_WORDS.get(family, family)


def families() -> list[tuple[str, Words]]:
    """All families of kinds that there are, as a filter writes them, with their words."""
    return [(each, family_words(each.removesuffix(".*"))) for each in FAMILIES]


@dataclass(frozen=True)
class EventQuery:
    """What was asked for. `written` holds the filters as text; `since` is a preset, EVER, or "" between typed times."""

    written: Mapping[str, str]
    since: str
    after: datetime | None
    before: datetime | None
    problems: tuple[str, ...] = ()
    now: datetime = field(default_factory=timezone.now)

    @classmethod
    def read(cls, given: QueryDict) -> "EventQuery":
        """Unknown names are passed over; what cannot be read is among the problems."""
        written = _written(given)
        problems: list[str] = []
        after = _moment(given, ("from", "occurred_after"), problems)
        before = _moment(given, ("to", "occurred_before"), problems)
        since = given.get("since", "")
        if since not in {*PRESETS, EVER}:
            default = "30d" if _OF_ONE & written.keys() else "1d"
            since = "" if after or before else default
        elif since:
            after = before = None
        return cls(written, since, after, before, tuple(problems))

    @cached_property
    def begin(self) -> datetime | None:
        """Where the list ends in the past; None where it has no bound."""
        if self.since in PRESETS:
            return self.now - PRESETS[self.since][0]
        return self.after

    @cached_property
    def api_values(self) -> dict[str, str]:
        """The same for `/api/v1/history`."""
        values = {name: value for name, value in self.written.items() if name != "dialect"}
        if dialect := self.written.get("dialect"):
            parts = [f"portal/dialect={dialect}", values.get("selector", "")]
            values["selector"] = ",".join(part for part in parts if part)
        if self.begin is not None:
            values["occurred_after"] = self.begin.isoformat()
        if self.before is not None:
            values["occurred_before"] = self.before.isoformat()
        return values

    @cached_property
    def _checked(self) -> tuple[dict[str, Any], list[str]]:
        """The values of the filters, and what is wrong with them."""
        reader = HISTORY.query(data=self.api_values)
        if reader.is_valid():
            return dict(reader.validated_data), list(self.problems)
        wrong = [str(each) for details in reader.errors.values() for each in details]
        return {}, [*self.problems, *dict.fromkeys(wrong)]

    @property
    def wrong(self) -> list[str]:
        return self._checked[1]

    @cached_property
    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self._checked[0].items() if name in HistoryFilters.base_filters}

    @property
    def is_searched(self) -> bool:
        """Whether events are sought by their texts."""
        return "q" in self.values

    def rows(self, *, administrator: bool) -> QuerySet[Event]:
        """The events that match, of those that somebody may read; none where the filters cannot be read."""
        rows = history(administrator=administrator)
        if self.wrong:
            return rows.none()
        return HistoryFilters.narrow(rows, self.values)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """What the bars show."""
        end = self.before or self.now
        # Before the first year there is no time to begin at.
        floor = datetime.min.replace(tzinfo=UTC) + EVER_SHOWN
        begin = self.begin or max(end, floor) - EVER_SHOWN
        if begin < end:
            return begin, end
        return (end - timedelta(minutes=15), end) if end >= floor else (end, end + timedelta(minutes=15))

    def chosen(self, name: str) -> list[str]:
        """The values of one filter."""
        text = self.written.get(name, "")
        if name in _LISTS:
            return [each for each in text.split(",") if each]
        return [text] if text else []

    def without(self, *names: str) -> "EventQuery":
        kept = {name: value for name, value in self.written.items() if name not in names}
        return EventQuery(kept, self.since, self.after, self.before, self.problems, self.now)

    def parameters(self) -> dict[str, str]:
        """The query of the page for just this."""
        given = dict(self.written)
        if self.since:
            given["since"] = self.since
        if self.after is not None:
            given["from"] = self.after.isoformat()
        if self.before is not None:
            given["to"] = self.before.isoformat()
        return given

    def url(self, view: str = "admin:agents_event_changelist", **changes: str) -> str:
        """The address of a view for this, with some parameters changed, or taken out where they are empty."""
        given = {name: value for name, value in {**self.parameters(), **changes}.items() if value}
        return f"{reverse(view)}?{urlencode(given)}"

    def toggled(self, name: str, value: str) -> str:
        """The address with one value of a filter more, or less where it is chosen already."""
        chosen = self.chosen(name)
        if value in chosen:
            chosen.remove(value)
        elif name in _LISTS:
            chosen.append(value)
        else:
            chosen = [value]
        return self.url(**{name: ",".join(chosen)})

    def file_url(self, file_format: str) -> str:
        """All that is listed as a file of the API."""
        values = {**self.api_values, "format": file_format}
        return f"{reverse('history')}?{urlencode(values)}"


def _written(given: QueryDict) -> dict[str, str]:
    """The filters as one text each, in the order in which the page shows them."""
    found: dict[str, list[str]] = {}
    for name in given:
        target = _ALIASES.get(name, name)
        values = [clean_text(value).strip() for value in given.getlist(name)]
        found.setdefault(target, []).extend(value for value in values if value)
    for family in found.pop("family", ()):
        found.setdefault("kind", []).append(f"{family.rstrip('.*')}.*")
    for pk in found.pop("service__id__exact", ()):
        found.update(_service_of(pk))
    if found.get("dialect", [""])[-1] not in Dialect.values:
        found.pop("dialect", None)
    return {name: _joined(found[name]) if name in _LISTS else found[name][-1] for name in NAMES if found.get(name)}


def _joined(values: list[str]) -> str:
    """Values that stand in several places or by comma, each once."""
    return ",".join(dict.fromkeys(each for value in values for each in value.split(",") if each))


def _service_of(pk: str) -> dict[str, list[str]]:
    """A service that a link names by its key. Of one that is gone nothing is found, rather than everything."""
    row = Service.objects.filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None
    return {"service": [row.name], "environment": [row.environment]} if row else {"service": ["\N{EMPTY SET}"]}


def _moment(given: QueryDict, names: Iterable[str], problems: list[str]) -> datetime | None:
    """A typed time; without an offset it is one of the time zone of the page."""
    text = next((text for name in names if (text := str(given.get(name, "")).strip())), "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = moment if moment.tzinfo else timezone.make_aware(moment)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(str(_("“%s” is no time; write it as in 2026-11-03T09:12.") % text))
        return None


def kind_words(kind: str) -> Words:
    """What a kind or a family of kinds is called."""
    if kind.endswith(".*"):
        return family_words(kind.removesuffix(".*"))
    return EventKind(kind).label if kind in EventKind.values else kind
