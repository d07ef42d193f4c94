"""Template access to controlplane.console.formatting."""

from django import template
from django.utils import timezone

from agents import history, words
from agents.models import Command
from agents.models.command import CommandKind
from controlplane.common.changes import subject_of
from controlplane.console import formatting, title, zones

register = template.Library()

register.simple_tag(formatting.badge, name="badge")
register.simple_tag(title.console_title, takes_context=True, name="console_title")
register.simple_tag(formatting.admin_url, name="admin_url")
register.filter("age", formatting.age)
register.filter("clock", formatting.clock)
register.filter("duration", formatting.duration)
register.filter("pretty_json", formatting.pretty_json)
register.filter("short", formatting.short)
register.filter("cut", formatting.cut)
register.filter("end_reason", words.end_reason)
register.filter("error_text", words.error_text)
register.filter("error_words", words.error_words)
register.filter("event_text", words.event_text)
register.filter("event_words", words.event_words)
register.filter("changed_fields", history.changed_fields)
register.filter("origin_words", history.origin_words)
register.filter("newest_changes", history.newest_changes)
register.filter("reason_words", words.reason_words)
register.filter("subject_of", subject_of)
register.filter("subject_words", history.subject_words)


@register.simple_tag
def age_words() -> dict[str, formatting.Words]:
    return formatting.AGE_WORDS


register.simple_tag(zones.zone_label, name="zone_label")


@register.simple_tag
def viewer_zone() -> str:
    """The name of the zone in which this page writes times."""
    return timezone.get_current_timezone_name()


@register.filter
def command_label(command: Command) -> str:
    """The words for the kind of a command; a kind that this version does not know is shown as it is."""
    return str(CommandKind(command.kind).label) if command.kind in CommandKind.values else command.kind


@register.filter
def kind_words(kind: str) -> str:
    """The same for a bare kind."""
    return str(CommandKind(kind).label) if kind in CommandKind.values else kind
