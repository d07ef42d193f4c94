"""How the console writes ages, durations, states and JSON: always with words, never by colour alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

Words: TypeAlias = str | Promise

NOTHING = "–"
# Beyond this a value is cut on the page; it is whole in the API.
JSON_SHOWN_MAX_CHARS = 100_000

# The same words tick in the browser: templates/admin/console/words.html hands them to console.js.
AGE_WORDS: dict[str, Words] = {
    "now": pgettext_lazy("age", "just now"),
    "seconds": pgettext_lazy("age", "%s s ago"),
    "minutes": pgettext_lazy("age", "%s min ago"),
    "hours": pgettext_lazy("age", "%s h ago"),
    "days": pgettext_lazy("age", "%s d ago"),
    "in-seconds": pgettext_lazy("age", "in %s s"),
    "in-minutes": pgettext_lazy("age", "in %s min"),
    "in-hours": pgettext_lazy("age", "in %s h"),
    "in-days": pgettext_lazy("age", "in %s d"),
    # How long something lasts: "live paused 14 s".
    "span-seconds": _("%s s"),
    "span-minutes": _("%s min"),
    "span-hours": _("%s h"),
    "span-days": _("%s d"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How one state is shown: a Material symbol and a tone that console.css knows."""

    icon: str
    tone: str


GOOD, BUSY, WARN, BAD, MUTE = "good", "busy", "warn", "bad", "mute"
UNKNOWN_LOOK = Look("help", MUTE)

LOOKS: Mapping[str, Mapping[str, Look]] = {
    "connectivity": {
        "online": Look("check_circle", GOOD),
        "unconnected": Look("signal_disconnected", WARN),
        "offline": Look("cloud_off", BAD),
        "never_reported": Look("radio_button_unchecked", MUTE),
    },
    "health": {
        "ok": Look("favorite", GOOD),
        "degraded": Look("warning", WARN),
        "error": Look("error", BAD),
        "starting": Look("hourglass_top", BUSY),
    },
    "session": {
        "active": Look("link", GOOD),
        "disconnected": Look("link_off", MUTE),
        "superseded": Look("swap_horiz", WARN),
    },
    "command": {
        "pending": Look("schedule", BUSY),
        "dispatched": Look("send", BUSY),
        "accepted": Look("play_circle", BUSY),
        "expired": Look("timer_off", WARN),
        "rejected": Look("block", BAD),
        "succeeded": Look("check_circle", GOOD),
        "failed": Look("error", BAD),
        "timeout": Look("hourglass_disabled", WARN),
        "cancelled": Look("cancel", MUTE),
    },
    "outcome": {
        "dispatched": Look("send", GOOD),
        "queued": Look("schedule", BUSY),
        "skipped": Look("block", WARN),
        "rejected": Look("error", BAD),
    },
    "fan_out": {
        "running": Look("progress_activity", BUSY),
        "finished": Look("done_all", MUTE),
        "gone": Look("history_toggle_off", MUTE),
    },
    "fleet": {
        "all": Look("check_circle", GOOD),
        "some": Look("warning", WARN),
        "none": Look("cloud_off", BAD),
        "empty": Look("radio_button_unchecked", MUTE),
    },
    "level": {"info": Look("info", MUTE), "warn": Look("warning", WARN), "error": Look("error", BAD)},
    "token": {
        "usable": Look("check_circle", GOOD),
        "expired": Look("event_busy", WARN),
        "revoked": Look("block", MUTE),
    },
    "process": {
        "running": Look("check_circle", GOOD),
        "silent": Look("warning", BAD),
        "stopped": Look("stop_circle", MUTE),
        "lost": Look("dangerous", WARN),
    },
    "job": {
        "ok": Look("check_circle", GOOD),
        "failing": Look("error", BAD),
        "overdue": Look("alarm", WARN),
        "never": Look("radio_button_unchecked", MUTE),
    },
    "task": {
        "running": Look("play_circle", GOOD),
        "pausing": Look("hourglass_top", BUSY),
        "paused": Look("pause_circle", WARN),
        "drained": Look("do_not_disturb_on", WARN),
    },
    # What a person did to an instance, told beside its connectivity.
    "stop": {
        "drain": Look("do_not_disturb_on", WARN),
        "shutdown": Look("power_settings_new", MUTE),
        "restart": Look("restart_alt", MUTE),
    },
    "removal": {
        "running": Look("hourglass_top", BUSY),
        "done": Look("check_circle", MUTE),
        "kept": Look("warning", WARN),
    },
    "conflict": {"now": Look("content_copy", BAD), "past": Look("content_copy", WARN)},
    "channel": {
        "ok": Look("check_circle", GOOD),
        "failing": Look("error", BAD),
        "untried": Look("radio_button_unchecked", MUTE),
        "off": Look("notifications_off", MUTE),
    },
    "rule": {"on": Look("check_circle", GOOD), "off": Look("notifications_off", MUTE)},
    "alert": {
        "waiting": Look("hourglass_top", BUSY),
        "firing": Look("notifications_active", BAD),
        "resolved": Look("check_circle", MUTE),
    },
    "member": {
        "open": Look("error", BAD),
        "silenced": Look("notifications_paused", WARN),
        "ended": Look("check_circle", MUTE),
    },
    "delivery": {
        "pending": Look("schedule", BUSY),
        "sending": Look("send", BUSY),
        "delivered": Look("check_circle", GOOD),
        "failed": Look("error", BAD),
        "folded": Look("inventory_2", MUTE),
    },
    "attempt": {
        "ok": Look("check_circle", GOOD),
        "failed": Look("error", BAD),
        "unknown": Look("help", WARN),
    },
    "silence": {
        "active": Look("notifications_paused", WARN),
        "between": Look("event_repeat", BUSY),
        "upcoming": Look("event_upcoming", BUSY),
        "over": Look("event_available", MUTE),
        "cancelled": Look("cancel", MUTE),
    },
}

STATE_WORDS: Mapping[str, Mapping[str, Words]] = {
    "token": {"usable": _("Usable"), "expired": _("Expired"), "revoked": _("Revoked")},
    "process": {"running": _("Running"), "silent": _("Silent"), "stopped": _("Stopped"), "lost": _("Lost")},
    "job": {"ok": _("OK"), "failing": _("Failing"), "overdue": _("Overdue"), "never": _("Never ran")},
    "task": {"running": _("Running"), "pausing": _("Pausing"), "paused": _("Paused"), "drained": _("Takes no work")},
    "stop": {"drain": _("Drained")},
    "fan_out": {"running": _("Running"), "finished": _("Finished"), "gone": _("No longer kept")},
    "removal": {"running": _("Being removed"), "done": _("Removed"), "kept": _("Removed in part")},
    "conflict": {"now": _("Identity conflict"), "past": _("Identity conflict, over")},
    "channel": {"ok": _("Delivers"), "failing": _("Failing"), "untried": _("Never used"), "off": _("Off")},
    "rule": {"on": _("On"), "off": _("Off")},
    "member": {"open": _("Going on"), "silenced": _("Silenced"), "ended": _("Over")},
    "attempt": {"ok": _("Delivered"), "failed": _("Failed"), "unknown": _("Nobody knows")},
    "silence": {
        "active": _("In force"),
        "between": _("Between two rounds"),
        "upcoming": _("To come"),
        "over": _("Over"),
        "cancelled": _("Ended early"),
    },
    "outcome": {
        "dispatched": _("Sent"),
        "queued": _("Held until it reconnects"),
        "skipped": _("Skipped"),
        "rejected": _("Rejected"),
    },
}


def badge(
    family: str, value: str, label: Words | None = None, *, title: Words = "", is_past: bool = False
) -> SafeString:
    """The state `value` as icon and text.

    `family` is a key of LOOKS; `label` says what to write where the model knows better; `title` explains it. What
    `is_past` was so when the agent was last seen: it is grey and says that.
    """
    look = LOOKS.get(family, {}).get(value, UNKNOWN_LOOK)
    words = label or STATE_WORDS.get(family, {}).get(value) or value
    return format_html(
        '<span class="c-badge c-{}" data-state="{}" title="{}">'
        '<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        MUTE if is_past else look.tone,
        value,
        _("When last seen") if is_past else title,
        look.icon,
        words,
    )


def exact(moment: datetime) -> str:
    """The moment to the second in the viewer's time zone, as in `2026-11-03 09:12:44 UTC+8`."""
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M:%S} {offset_words(local)}"


def offset_words(moment: datetime) -> str:
    """Where the clock of an aware moment stands: `UTC`, `UTC+8`, `UTC−3:30`. Never `CST`, which is four zones."""
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    sign = "+" if minutes > 0 else "−"
    return f"UTC{sign}{hours}:{rest:02d}" if rest else f"UTC{sign}{hours}"


def age_words(moment: datetime, now: datetime) -> str:
    seconds = (now - moment).total_seconds()
    prefix = "" if seconds >= 0 else "in-"
    seconds = abs(seconds)
    if seconds < 1:
        return str(AGE_WORDS["now"])
    for unit, size, limit in (("seconds", 1, 60), ("minutes", 60, 3600), ("hours", 3600, 86400)):
        if seconds < limit:
            return str(AGE_WORDS[prefix + unit]) % int(seconds // size)
    return str(AGE_WORDS[f"{prefix}days"]) % int(seconds // 86400)


def age(moment: datetime | None) -> SafeString | str:
    """How long ago (or how soon), the exact time in the title; console.js keeps it true while the page is open."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="c-age" datetime="{}" title="{}" data-age>{}</time>',
        moment.isoformat(),
        exact(moment),
        age_words(moment, timezone.now()),
    )


def clock(moment: datetime | None) -> SafeString | str:
    """The exact time, its age in the title."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="c-clock" datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        age_words(moment, timezone.now()),
        exact(moment),
    )


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        fraction = 1 if 0 < milliseconds < 10 else 0
        return gettext("%s ms") % f"{milliseconds:.{fraction}f}"
    seconds = milliseconds / 1000
    if seconds < 120:
        return gettext("%s s") % f"{seconds:.1f}"
    if seconds < 7200:
        return gettext("%s min") % f"{seconds / 60:.1f}"
    if seconds < 172800:
        return gettext("%s h") % f"{seconds / 3600:.1f}"
    return gettext("%s d") % f"{seconds / 86400:.1f}"


def pretty_json(value: object) -> str:
    """The value as indented JSON, cut where it is longer than JSON_SHOWN_MAX_CHARS."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    if len(text) <= JSON_SHOWN_MAX_CHARS:
        return text
    return text[:JSON_SHOWN_MAX_CHARS] + "\n" + gettext("… cut here; the API has it whole.")


def admin_url(view: str, *args: object, **query: object) -> str:
    """The address of an admin view such as `agents_instance_change`, with query values that are not empty."""
    return reverse(f"admin:{view}", args=args, query={key: value for key, value in query.items() if value} or None)


def link(url: str, text: object, *, title: object = "") -> SafeString:
    return format_html('<a class="c-link" href="{}" title="{}">{}</a>', url, title, text)


def short(value: str, length: int = 12) -> SafeString | str:
    """The beginning of a long id or hash, whole in the title."""
    if not value:
        return NOTHING
    shown = value if len(value) <= length else value[:length] + "…"
    return format_html('<span class="c-mono" title="{}">{}</span>', value, shown)


def cut(value: str, length: int = 80) -> SafeString | str:
    """One line of a long text, whole in the title (the title cut as well: tracebacks have no end)."""
    line = value.strip().splitlines()[0] if value.strip() else ""
    if not line:
        return NOTHING
    if len(value) <= length:
        return line
    return format_html('<span title="{}">{}</span>', value[:1000], line[:length] + "…")
