"""The rule of a channel's own: what the settings API says of a channel that is a rule here (contract 7.1)."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from controlplane.common.actors import Actor
from notifications.models import Channel, Rule
from notifications.services.channels import create_channel, set_enabled, update_channel
from notifications.services.rules import create_rule, update_rule

# What the settings API calls a channel's and a rule has.
RULE_FIELDS = ("service_scopes", "event_types", "missed_start_grace_s")
# Each event alone and at once, as the contract has it.
ALONE: Mapping[str, Any] = {"group_by": Rule.GroupBy.EVENT, "wait_s": 0, "tells_resolved": False}


@transaction.atomic
def create_with_rule(values: Mapping[str, Any], told: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Make a channel, and the rule that tells it of `told`, which has RULE_FIELDS. Raises what the two services do."""
    channel = create_channel(values, actor=actor)
    _set_rule(channel, told, actor=actor)
    return channel


@transaction.atomic
def update_with_rule(channel: Channel, changes: Mapping[str, Any], told: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Change a channel and, of its rule, what `told` names. Raises what the two services do."""
    changed = update_channel(channel, changes, actor=actor) if changes else channel
    if told or changed.name != channel.name:
        _set_rule(changed, told, actor=actor)
    return changed


def enable(channel: Channel, *, enabled: bool, actor: Actor) -> Channel:
    """Have a channel told, or not; events meanwhile are not told later."""
    return set_enabled(channel, enabled, actor=actor)


def _set_rule(channel: Channel, told: Mapping[str, Any], *, actor: Actor) -> None:
    rule = Rule.objects.filter(own_of=channel).first()
    name = _free_name(channel.name, rule)
    if rule is None:
        create_rule({"name": name, "own_of": channel, "channels": [channel], **ALONE, **told}, actor=actor)
    else:
        update_rule(rule, {"name": name, **told}, actor=actor)


def _free_name(name: str, rule: Rule | None) -> str:
    """The name of the channel, or the first like it that no other rule has."""
    others = Rule.objects.exclude(pk=rule.pk) if rule is not None else Rule.objects.all()
    taken = set(others.filter(name__startswith=name[:240]).values_list("name", flat=True))
    number = 1
    found = name
    while found in taken:
        number += 1
        found = f"{name[:240]} ({number})"
    return found
