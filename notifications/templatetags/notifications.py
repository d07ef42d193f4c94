"""Template access to the words of notifications."""

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from agents.selectors.covers import Cover
from controlplane.console.formatting import admin_url, badge, cut, link
from notifications import silencing, words
from notifications.models import Alert, AlertMember, Rule

register = template.Library()

register.simple_tag(silencing.rule_of_event_url)
register.simple_tag(silencing.silence_instance_url)
register.simple_tag(silencing.silence_selector_url)
register.simple_tag(silencing.silence_service_url)
register.simple_tag(silencing.silence_task_url)
register.filter("type_words", words.type_words)
register.filter("scope_words", words.scope_words)


@register.filter
def types_words(rule: Rule) -> str:
    """What a rule tells of."""
    return words.types_words(rule.event_types, gettext("Nothing"))


@register.filter
def language_words(code: str) -> str:
    """The name of a language of messages."""
    return str(dict(settings.LANGUAGES).get(code, code))


@register.filter
def split_by_comma(text: str) -> list[str]:
    return text.split(",")


@register.simple_tag
def members_words(alert: Alert) -> SafeString | str:
    """Whom an alert is about; it must have `members_counted`."""
    return words.members_words(alert)


@register.simple_tag
def cover_words(cover: Cover) -> str:
    """What those of a service that are away have in common."""
    shapes = {
        "instance": "%s",
        "host": gettext("all on host %s"),
        "replica": gettext("all held by %s"),
        "version": gettext("all of version %s"),
        "label": gettext("all with label %s"),
    }
    return shapes[cover.kind] % cover.value


@register.simple_tag
def member_badge(member: AlertMember) -> SafeString:
    if member.ended_at is not None:
        return badge("member", "ended")
    return badge("member", "silenced" if member.silence_id is not None else "open")


@register.simple_tag
def member_name(member: AlertMember) -> SafeString | str:
    """The subject of a member, leading to its page where it has one; service and instance must be loaded."""
    where = f"{member.service}" if member.service else ""
    if member.task_name and member.service_id:
        url = admin_url("tasks_app_task_changelist", service__id__exact=member.service_id, q=member.task_name)
        return format_html('{} <span class="c-soft">{}</span>', link(url, cut(member.task_name, 60)), where)
    if member.instance is not None:
        url = admin_url("agents_instance_change", member.instance_id)
        name = member.instance.node_name or member.instance.external_id
        return format_html('{} <span class="c-soft">{}</span>', link(url, name), where)
    kind, _colon, key = member.subject.partition(":")
    if kind == "command":
        return link(admin_url("agents_command_change", key), key[:8])
    return cut(key or member.subject, 60)


@register.simple_tag
def member_cause(member: AlertMember) -> SafeString | str:
    """The cause, as its newest event said it."""
    told = member.told if isinstance(member.told, dict) else {}
    parts = [str(told.get(name) or "") for name in ("exception_type", "message")]
    return cut(": ".join(part for part in parts if part), 120)
