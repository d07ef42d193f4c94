"""Rules: made, changed and deleted. STAND-IN: to be replaced at merge."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from agents.labels import parse
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, difference, snapshot
from notifications.errors import RuleNameTaken
from notifications.models import EventType, Rule


def create_rule(values: Mapping[str, Any], *, actor: Actor) -> Rule:
    """Make a rule of the fields of the model; `channels` are Channel rows. Raises Invalid and RuleNameTaken."""
    channels = list(values.get("channels", ()))
    rule = Rule(**{name: value for name, value in values.items() if name != "channels"})
    check_rule(rule)
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
            rule.channels.set(channels)
            made = difference(NOTHING, snapshot(rule))
            record_changes([change_of(ChangeKind.CREATED, rule, actor=actor, what=made)])
    except IntegrityError as exc:
        raise _taken(rule.name) from exc
    return rule


def update_rule(rule: Rule, changes: Mapping[str, Any], *, actor: Actor) -> Rule:
    """Change fields; what stays the same is not written. Raises Invalid and RuleNameTaken."""
    try:
        with transaction.atomic():
            stored = Rule.objects.select_for_update(no_key=True).get(pk=rule.pk)
            before = snapshot(stored)
            for name, value in changes.items():
                if name != "channels":
                    setattr(stored, name, value)
            check_rule(stored)
            stored.save()
            if "channels" in changes:
                stored.channels.set(changes["channels"])
            if changed := difference(before, snapshot(stored)):
                record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    except IntegrityError as exc:
        raise _taken(stored.name) from exc
    return stored


@transaction.atomic
def delete_rule(rule: Rule, *, actor: Actor) -> None:
    gone = change_of(ChangeKind.DELETED, rule, actor=actor, what=difference(snapshot(rule), NOTHING))
    rule.delete()
    record_changes([gone])


def check_rule(rule: Rule) -> None:
    """Raise Invalid where the rule cannot be; its selector is put into its canonical form."""
    if not rule.name.strip():
        raise Invalid(_("A rule needs a name."), field="name")
    _check_types(rule.event_types)
    rule.selector = str(parse(rule.selector)) if rule.selector.strip() else ""
    if (rule.quiet_from is None) != (rule.quiet_until is None):
        field = "quiet_until" if rule.quiet_until is None else "quiet_from"
        raise Invalid(_("Quiet hours have a beginning and an end."), field=field)
    if rule.threshold_count < 1:
        raise Invalid(_("At least one event."), field="threshold_count")
    if not 1 <= rule.missed_start_grace_s <= 86400:
        raise Invalid(_("From 1 to 86400 seconds."), field="missed_start_grace_s")


def _check_types(event_types: list[str]) -> None:
    for each in event_types:
        if each not in EventType.values:
            raise Invalid(_("There is no event type %s.") % each, field="event_types")


def _taken(name: str) -> RuleNameTaken:
    return RuleNameTaken(_("A rule named %s exists already.") % name)
