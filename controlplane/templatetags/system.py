"""Template access to the words of the System page."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from controlplane.console.formatting import NOTHING
from controlplane.system.words import size_words

register = template.Library()

register.filter("size", size_words)


@register.filter
def per_day(count: float | None) -> str:
    """Growth with its sign."""
    if count is None:
        return NOTHING
    return gettext("%s per day") % (("+" if count > 0 else "") + size_words(count))


@register.filter
def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f} %"


@register.filter
def known(value: object) -> object:
    """The value, or a dash where nobody told; a zero is a value."""
    return NOTHING if value is None or value == "" else value


@register.filter
def server_name(name: str) -> str:
    return {
        "database": gettext("Database"),
        "redis": "Redis",
        "channels": gettext("Channel layer"),
        "broker": gettext("Queue of background jobs"),
    }.get(name, name)


@register.filter
def severity(value: str) -> SafeString:
    """How bad a finding is, as icon and word."""
    looks = {
        "error": ("error", "bad", gettext("Error")),
        "warning": ("warning", "warn", gettext("Warning")),
        "info": ("info", "mute", gettext("Note")),
    }
    icon, tone, words = looks[value]
    return format_html(
        '<span class="c-badge c-{}" data-state="{}">'
        '<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        tone,
        value,
        icon,
        words,
    )
