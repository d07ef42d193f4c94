"""What rules, silences and alerts say of themselves, in the reader's language.

Apart from notifications.admin, so that templates and pages of other apps can use it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from typing import Any, Final

from django.utils.dates import WEEKDAYS_ABBR
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from controlplane.console.formatting import Words
from notifications.models import Alert, EventType, Rule, Scope, Silence

# How many of a kind are named before the others are counted.
NAMED_MAX: Final = 3
TYPE_GROUPS: Final[tuple[tuple[str, Any, tuple[EventType, ...]], ...]] = (
    (
        "tasks",
        _("Tasks"),
        (
            EventType.TASK_FAILED,
            EventType.TASK_DEAD_LETTERED,
            EventType.TASK_RETRIED,
            EventType.TASK_MISSED_START,
            EventType.TASK_STARTED,
            EventType.TASK_SUCCEEDED,
        ),
    ),
    ("instances", _("Instances"), (EventType.INSTANCE_OFFLINE, EventType.INSTANCE_ONLINE, EventType.INSTANCE_HEALTH)),
    ("commands", _("Commands"), (EventType.COMMAND_FAILED, EventType.COMMAND_TIMEOUT)),
    ("portal", _("The portal itself"), (EventType.CHANNEL_FAILING, EventType.PORTAL_LAGGING)),
)


def type_words(event_type: str) -> str:
    """The words of an event type; one that this version does not know is shown as it is."""
    return str(EventType(event_type).label) if event_type in EventType.values else event_type


def types_words(event_types: Sequence[str], empty: Words) -> str:
    return _some([type_words(each) for each in event_types]) or str(empty)


def scope_words(scope: Scope) -> str:
    """Whom and what it means, in one line."""
    parts = [
        _some([f"{each['environment']}/{each['name']}" for each in scope.service_scopes]),
        _some(scope.environments),
        scope.selector,
        gettext("tasks %s") % scope.task_pattern if scope.task_pattern else "",
    ]
    return " · ".join(part for part in parts if part) or gettext("Everything")


def _some(names: Iterable[str]) -> str:
    found = list(names)
    text = ", ".join(found[:NAMED_MAX])
    more = len(found) - NAMED_MAX
    return f"{text} {gettext('and %d more') % more}" if more > 0 else text


def weekday_words(days: Sequence[int]) -> str:
    """Weekdays by their short names; all of them are every day."""
    known = sorted({day for day in days if 0 <= day <= 6})
    if len(known) in {0, 7}:
        return gettext("every day")
    return ", ".join(str(WEEKDAYS_ABBR[day]) for day in known)


def span_words(minutes: int) -> str:
    """How long something lasts, as in `2 h 30 min`."""
    hours, rest = divmod(minutes, 60)
    parts = [gettext("%d h") % hours if hours else "", gettext("%d min") % rest if rest or not hours else ""]
    return " ".join(part for part in parts if part)


def seconds_words(seconds: int) -> str:
    """A span of a rule, as short as it can be said."""
    if seconds and seconds % 86400 == 0:
        return gettext("%d d") % (seconds // 86400)
    if seconds and seconds % 60 == 0:
        return span_words(seconds // 60)
    return gettext("%d s") % seconds


def round_words(silence: Silence) -> str:
    """When a recurring silence is in force; empty for one that does not recur."""
    if silence.start_time is None:
        return ""
    return gettext("%(days)s from %(time)s for %(span)s (%(zone)s)") % {
        "days": weekday_words(silence.weekdays),
        "time": _time(silence.start_time),
        "span": span_words(silence.duration_min or 0),
        "zone": silence.time_zone or "UTC",
    }


def quiet_words(rule: Rule) -> str:
    """When a rule is quiet; empty where it never is."""
    if rule.quiet_from is None or rule.quiet_until is None:
        return ""
    return gettext("%(days)s from %(begin)s to %(end)s (%(zone)s)") % {
        "days": weekday_words(rule.quiet_weekdays),
        "begin": _time(rule.quiet_from),
        "end": _time(rule.quiet_until),
        "zone": rule.quiet_time_zone or "UTC",
    }


def threshold_words(rule: Rule) -> str:
    if rule.threshold_count <= 1:
        return gettext("from the first event on")
    return gettext("from %(n)d events within %(span)s on") % {
        "n": rule.threshold_count,
        "span": seconds_words(rule.threshold_window_s),
    }


def pace_words(rule: Rule) -> str:
    """How often a rule tells what it sees."""
    if rule.group_by == Rule.GroupBy.EVENT:
        return gettext("each event alone, at once")
    parts = [
        str(Rule.GroupBy(rule.group_by).label),
        gettext("after %s") % seconds_words(rule.wait_s),
        gettext("what is new every %s") % seconds_words(rule.update_s),
        gettext("again every %s") % seconds_words(rule.repeat_s) if rule.repeat_s else "",
        gettext("and when it is over") if rule.tells_resolved else "",
    ]
    return ", ".join(part for part in parts if part)


def alert_title(alert: Alert) -> str:
    return f"{type_words(alert.event_type)} · {alert.rule.name}"


def subjects_words(event_type: str, count: int) -> str:
    """How many of what an alert is about."""
    kind = event_type.partition("_")[0]
    texts = {
        "task": ngettext("%d task", "%d tasks", count),
        "instance": ngettext("%d instance", "%d instances", count),
        "command": ngettext("%d command", "%d commands", count),
        "channel": ngettext("%d channel", "%d channels", count),
    }
    return texts.get(kind, ngettext("%d process", "%d processes", count)) % count


def members_words(alert: Any) -> SafeString | str:
    """Whom it is about, with how many of these are over or silenced; it must have `members_counted`."""
    counted = alert.members_counted
    text = subjects_words(alert.event_type, counted.total)
    notes = []
    if alert.status != Alert.Status.RESOLVED and counted.open != counted.total:
        notes.append(gettext("%d going on") % counted.open)
    if counted.silenced:
        notes.append(gettext("%d silenced") % counted.silenced)
    return format_html('{} <span class="c-soft">{}</span>', text, ", ".join(notes)) if notes else text


def _time(moment: time | datetime) -> str:
    return f"{moment:%H:%M}"
