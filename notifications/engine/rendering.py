"""What is told becomes a card in the language of a channel. Source: contract 7.3."""

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, override

from notifications.engine.cards import Card, Line, Tone
from notifications.engine.facts import Fact
from notifications.engine.telling import Telling

# As the contract calls them in titles.
LABELS: Final = {
    "task_started": gettext_lazy("Task started"),
    "task_succeeded": gettext_lazy("Task succeeded"),
    "task_failed": gettext_lazy("Task failed"),
    "task_retried": gettext_lazy("Task retried"),
    "task_dead_lettered": gettext_lazy("Task dead-lettered"),
    "task_missed_start": gettext_lazy("Start missed"),
    "instance_online": gettext_lazy("Instance online"),
    "instance_offline": gettext_lazy("Instance offline"),
    "instance_health_changed": gettext_lazy("Health changed"),
    "command_failed": gettext_lazy("Command failed"),
    "command_timeout": gettext_lazy("Command timed out"),
    "channel_failing": gettext_lazy("Channel failing"),
    "portal_lagging": gettext_lazy("Portal lagging"),
}
TONES: Final[dict[str, Tone]] = {
    "task_started": "info",
    "task_succeeded": "good",
    "task_failed": "bad",
    "task_retried": "warn",
    "task_dead_lettered": "bad",
    "task_missed_start": "warn",
    "instance_online": "good",
    "instance_offline": "bad",
    "instance_health_changed": "warn",
    "command_failed": "bad",
    "command_timeout": "warn",
    "channel_failing": "bad",
    "portal_lagging": "bad",
}
_FAILURES: Final = frozenset({"task_failed", "task_retried", "task_dead_lettered"})


def card_of(telling: Telling, *, language: str, zone: tzinfo, portal_url: str) -> Card:
    """The card, with times of `zone`. `portal_url` is empty where the portal does not know its own address."""
    with override(language):
        return _Card(telling, zone, portal_url.rstrip("/")).made()


class _Card:
    def __init__(self, telling: Telling, zone: tzinfo, portal_url: str) -> None:
        self._telling = telling
        self._zone = zone
        self._portal_url = portal_url
        self._fact = telling.facts[0] if telling.facts else None
        self._is_group = telling.subject_count > 1 or telling.event_count > 1

    def made(self) -> Card:
        telling = self._telling
        return Card(
            title=self._title(),
            tone=self._tone(),
            lines=tuple(Line(name=name, value=value, is_code=code) for name, value, code in self._lines() if value),
            metrics=()
            if self._is_group or self._fact is None
            else tuple(Line(name=label, value=value) for label, value in self._fact.metrics),
            items=self._items(),
            link=self._link(),
            link_text=_("Open in the console"),
            variables=self._variables() if telling.kind != "digest" else self._variables() | {"event_type": "digest"},
        )

    def _tone(self) -> Tone:
        if self._telling.kind in {"resolved", "test"}:
            return "good" if self._telling.kind == "resolved" else "info"
        return TONES.get(self._telling.event_type, "warn")

    def _title(self) -> str:
        telling, fact = self._telling, self._fact
        if telling.kind == "test":
            return f"[{_('Test')}] {telling.rule_name}".strip()
        if telling.kind == "digest":
            told = ngettext("%d message in one", "%d messages in one", telling.event_count) % telling.event_count
            return f"[{_('Digest')}] {told}"
        label = str(LABELS.get(telling.event_type, telling.event_type))
        if telling.kind == "summary":
            count = telling.subject_count
            still = ngettext("%d is still broken", "%d are still broken", count) % count if count else _("all is well")
            return f"[{_('After a silence')}] {still}"
        if telling.kind == "resolved":
            label = _("Over: %s") % label
        elif telling.kind == "repeat":
            label = _("Still: %s") % label
        if self._is_group and telling.cover:
            return f"[{label}] {telling.cover}"
        where = _where(fact) if fact else telling.rule_name
        return f"[{label}] {where}" + (f" × {telling.event_count}" if self._is_group else "")

    def _lines(self) -> Iterator[tuple[str, str, bool]]:
        telling, fact = self._telling, self._fact
        if telling.message:
            yield _("Message"), telling.message, False
        if telling.silence_reason:
            yield _("Silence"), telling.silence_reason, False
        if telling.kind == "digest":
            return
        if fact is not None and not self._is_group:
            yield from self._single(fact)
        elif fact is not None:
            yield from self._grouped(fact)
        if telling.kind == "resolved" and telling.since and telling.until:
            yield _("Lasted"), _span((telling.until - telling.since).total_seconds()), False

    def _single(self, fact: Fact) -> Iterator[tuple[str, str, bool]]:
        kind = self._telling.event_type
        is_of_instance = kind.startswith("instance_")
        yield _("Environment"), fact.environment, True
        yield _("Service"), fact.service_name, True
        yield _("Task"), fact.task_name, True
        if is_of_instance:
            yield _("Node"), fact.node_name, True
            yield _("Instance"), str(fact.instance_id or ""), True
        yield _("Planned for"), self._time(fact.scheduled_at), False
        yield from self._of_kind(kind, fact)
        if fact.attempts is not None and not is_of_instance:
            yield _("Attempts"), str(fact.attempts + 1), False
        if fact.task_name and fact.instance_id:
            yield _("Instance"), fact.node_name or str(fact.instance_id), False

    def _of_kind(self, kind: str, fact: Fact) -> Iterator[tuple[str, str, bool]]:
        at = self._time(fact.occurred_at)
        if kind == "task_started":
            yield _("Started"), at, False
        elif kind == "task_succeeded":
            yield _("Finished"), at, False
            yield _("Took"), _took(fact.duration_ms), False
            yield _("Summary"), fact.summary, False
        elif kind in _FAILURES:
            yield _("Failed"), at, False
            yield _("Took"), _took(fact.duration_ms), False
            yield _("Cause"), cause_of(fact), False
        elif kind == "task_missed_start":
            yield _("Grace"), f"{fact.grace_s}s" if fact.grace_s is not None else "", False
            yield _("Noticed"), at, False
            yield _("Cause"), fact.message or _("No start was told of by then."), False
        elif kind == "instance_offline":
            yield _("Last seen"), self._time(fact.last_seen_at), False
            yield _("Offline since"), at, False
        elif kind == "instance_online":
            yield _("Online since"), at, False
        else:
            yield _("Command"), fact.command_kind, True
            yield _("Happened"), at, False
            yield _("Cause"), cause_of(fact), False

    def _grouped(self, fact: Fact) -> Iterator[tuple[str, str, bool]]:
        telling = self._telling
        yield _("Who"), telling.cover, False
        yield _("How many"), str(telling.subject_count), False
        if telling.event_count != telling.subject_count:
            yield _("Events"), str(telling.event_count), False
        yield _("Since"), self._time(telling.since), False
        yield _("Newest"), f"{_where(fact)} · {self._time(fact.occurred_at)}", False
        yield _("Cause"), cause_of(fact) if telling.event_type in _FAILURES else "", False
        yield _("Rule"), telling.rule_name, False

    def _items(self) -> tuple[str, ...]:
        if self._telling.kind == "digest":
            return tuple(f"{title} × {count}" for title, count in self._telling.digest_counts)
        if not self._is_group:
            return ()
        seen: dict[str, str] = {}
        for fact in self._telling.facts:
            seen.setdefault(fact.subject, f"{_where(fact)} · {self._time(fact.occurred_at)}")
        return tuple(seen.values())

    def _link(self) -> str:
        """To the one thing, else to the alerts."""
        fact = self._fact
        path = "/admin/"
        if self._telling.kind in {"alert", "repeat", "resolved"} and fact is not None and not self._is_group:
            if fact.command_id is not None:
                path = f"/admin/agents/command/{fact.command_id}/change/"
            elif fact.instance_id is not None:
                path = f"/admin/agents/instance/{fact.instance_id}/change/"
            elif fact.service_id is not None:
                path = f"/admin/agents/service/{fact.service_id}/change/"
        return f"{self._portal_url}{path}"

    def _variables(self) -> dict[str, str]:
        """Of the newest event. What it does not have is empty. Source: contract 7.1."""
        telling, fact = self._telling, self._fact
        found = {"event_type": telling.event_type, "kind": telling.kind, "event_count": str(telling.event_count)}
        found["console_url"] = self._link()
        if fact is None:
            return found
        return found | {
            "service_name": fact.service_name,
            "service_environment": fact.environment,
            "task_name": fact.task_name,
            "occurred_at": fact.occurred_at.astimezone(self._zone).isoformat(),
            "scheduled_at": fact.scheduled_at.astimezone(self._zone).isoformat() if fact.scheduled_at else "",
            "duration_ms": "" if fact.duration_ms is None else str(fact.duration_ms),
            "attempts": "" if fact.attempts is None else str(fact.attempts),
            "instance_id": str(fact.instance_id or ""),
            "node_name": fact.node_name,
            "failure_message": cause_of(fact),
            "success_summary": fact.summary,
        }

    def _time(self, moment: datetime | None) -> str:
        return f"{moment.astimezone(self._zone):%Y-%m-%d %H:%M:%S %Z}" if moment is not None else ""


def cause_of(fact: Fact) -> str:
    """`exception_type: kind (message)`, of which each part may be missing."""
    kind = f"{fact.exception_type}: {fact.failure_kind}" if fact.exception_type else fact.failure_kind
    if not kind:
        return fact.message
    return f"{kind} ({fact.message})" if fact.message else kind


def _where(fact: Fact) -> str:
    service = f"{fact.environment}/{fact.service_name}" if fact.service_name else ""
    what = fact.task_name or fact.node_name or fact.portal_subject or str(fact.instance_id or "")
    return " ".join(part for part in (service, what) if part)


def _took(duration_ms: int | None) -> str:
    """Seconds with up to three decimals. Source: contract 7.3."""
    return "" if duration_ms is None else f"{duration_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
