"""Template access to the badges of agents.badges."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents import badges
from agents.labels import Selector
from agents.models import Instance

register = template.Library()

ID_SHOWN = 8


@register.simple_tag
def instance_name(instance: Instance) -> SafeString:
    """The name with the beginning of the agent's id, the whole of it in the title: names need not be unique."""
    if not instance.node_name:
        return format_html("{}", instance.external_id)
    shown = instance.external_id[:ID_SHOWN]
    return format_html(
        '{} <span class="c-soft c-mono" title="{}">{}</span>', instance.node_name, instance.external_id, shown
    )


@register.simple_tag
def label_text(key: str, value: str) -> str:
    """A label as a selector would ask for it."""
    return str(Selector(match_labels=((key, value),)))


register.simple_tag(badges.connectivity, name="connectivity_badge")
register.simple_tag(badges.health, name="health_badge")
register.simple_tag(badges.target, name="target_badge")
register.simple_tag(badges.target_words, name="target_words")
