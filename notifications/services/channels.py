"""Channels: made, changed, tried and deleted. Their secrets are encrypted here and told to no history."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from zoneinfo import available_timezones

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.database import database_now
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, Snapshot, Value, difference, snapshot
from notifications.errors import ChannelNameTaken, ChannelUnknown
from notifications.models import Channel, Delivery
from notifications.models import Provider as ProviderName
from notifications.providers.base import Target
from notifications.providers.registry import provider_of
from notifications.secrets import UNREADABLE, SecretUnreadable, decrypt, encrypt
from notifications.selectors.targets import clear_options, frozen_route
from notifications.services.bell import ring
from notifications.services.claims import locked_channel
from notifications.services.ledger import count_ended
from notifications.services.trying import send_test

__all__ = ["create_channel", "delete_channel", "send_test", "set_enabled", "update_channel"]

Status = Delivery.Status
NAME_MAX_CHARS: Final = 255
SECRETS: Final = ("address", "secret")
# Of these a provider may say that it cannot work with them.
_OF_TARGET: Final = frozenset({"provider", "options", "language", *SECRETS})
# Once one of these is another, what failed before may work.
_MATTER: Final = _OF_TARGET | {"enabled"}
WAS_OFF: Final = gettext_noop("Its channel was off when it was deleted.")


def create_channel(values: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Make a channel of fields of the model; `address` and `secret` come in clear, and values of headers may.

    Raises Invalid, with the field, where its provider could not work with it, and ChannelNameTaken. The provider may
    ask the network about the address: call it outside of a transaction where you can.
    """
    channel = Channel()
    _apply(channel, values)
    _check(channel, _target(channel, values))
    with _unique_name(), transaction.atomic():
        channel.save(force_insert=True)
        made = difference(NOTHING, channel_snapshot(channel))
        record_changes([change_of(ChangeKind.CREATED, channel, actor=actor, what=made)])
    return channel


def update_channel(channel: Channel, changes: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Change fields of a channel, and return it as it is then; secrets that are left out stay as they are.

    What waits is tried at once where the change could make it work. Raises what `create_channel` does, and
    ChannelUnknown.
    """
    wanted = copy.copy(channel)
    _apply(wanted, changes)
    # Before the row is locked: the provider may ask the network.
    _check(wanted, None if _OF_TARGET.isdisjoint(changes) else _target(wanted, changes))
    with _unique_name(), transaction.atomic():
        stored = locked_channel(channel.pk)
        if stored is None:
            raise ChannelUnknown(f"notification channel {channel.pk} was not found")
        before = channel_snapshot(stored)
        _apply(stored, changes)
        changed = difference(before, channel_snapshot(stored))
        if not changed:
            return stored
        if not _MATTER.isdisjoint(changes):
            stored.held_until = None
            Delivery.objects.filter(channel=stored, status=Status.PENDING).update(next_attempt_at=None)
            transaction.on_commit(ring, robust=True)
        stored.save(update_fields=[*_columns(changes), "address_masked", "held_until", "updated_at"])
        record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    return stored


def set_enabled(channel: Channel, enabled: bool, *, actor: Actor) -> Channel:
    """Have a channel told, or not. What waits while it is off goes out when it is on again."""
    return update_channel(channel, {"enabled": enabled}, actor=actor)


@transaction.atomic
def delete_channel(channel: Channel, *, actor: Actor) -> None:
    """Delete a channel and the rule of its own. Raises ChannelUnknown.

    What is queued still goes out, each with the target that the channel had; where it was off, or where nobody can read
    that target any more, it is given up.
    """
    # Against whoever enqueues too: what comes later is refused, what came before is seen below.
    stored = Channel.objects.select_for_update().filter(pk=channel.pk).first()
    if stored is None:
        raise ChannelUnknown(f"notification channel {channel.pk} was not found")
    queued = Delivery.objects.filter(channel=stored, status__in=Delivery.OPEN)
    route, why = "", "" if stored.enabled else WAS_OFF
    try:
        route = frozen_route(stored)
    except SecretUnreadable:
        why = why or UNREADABLE
    if why:
        ended = {"next_attempt_at": None, "finished_at": database_now()}
        given_up = queued.filter(status=Status.PENDING).update(status=Status.FAILED, error=why, **ended)
        if given_up:
            count_ended(stored.provider, Status.FAILED, given_up)
    queued.update(target=route)
    gone = change_of(ChangeKind.DELETED, stored, actor=actor, what=difference(channel_snapshot(stored), NOTHING))
    stored.delete()
    record_changes([gone])


# What a channel is made of.


def _apply(channel: Channel, values: Mapping[str, Any]) -> None:
    """Set fields, secrets encrypted."""
    for name, value in values.items():
        if name in SECRETS:
            setattr(channel, name, encrypt(value))
        else:
            setattr(channel, name, sealed_options(value) if name == "options" else value)
    if "address" in values:
        channel.address_masked = provider_of(channel.provider).mask(values["address"])[:NAME_MAX_CHARS]


def _columns(changes: Mapping[str, Any]) -> list[str]:
    return [field.name for field in Channel._meta.concrete_fields if field.name in changes]


def sealed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are stored: values of headers encrypted, unless they are already."""
    if not options.get("headers"):
        return dict(options)
    return {**options, "headers": [{**each, "value": _sealed(each["value"])} for each in options["headers"]]}


def _sealed(value: str) -> str:
    try:
        decrypt(value)
    except SecretUnreadable:
        return encrypt(value)
    return value


def _target(channel: Channel, given: Mapping[str, Any]) -> Target:
    """The channel as its provider is to see it, with what was given in clear."""
    address, secret = (given[name] if name in given else _clear(channel, name) for name in SECRETS)
    options = clear_options(channel.options)
    return Target(provider=channel.provider, address=address, secret=secret, options=options, language=channel.language)


def _clear(channel: Channel, name: str) -> str:
    try:
        return decrypt(getattr(channel, name))
    except SecretUnreadable:
        raise Invalid(_("What it was cannot be read any more: write it again."), field=name) from None


def _check(channel: Channel, target: Target | None) -> None:
    """Raises Invalid."""
    if not channel.name.strip() or len(channel.name) > NAME_MAX_CHARS:
        raise Invalid(_("A name of up to %d characters is needed.") % NAME_MAX_CHARS, field="name")
    if channel.provider not in ProviderName.values:
        raise Invalid(_("There is no such provider."), field="provider")
    if channel.language not in dict(settings.LANGUAGES):
        raise Invalid(_("The portal does not know this language."), field="language")
    if channel.time_zone and channel.time_zone not in available_timezones():
        raise Invalid(_("There is no such time zone."), field="time_zone")
    for name in ("per_second", "per_minute"):
        value = getattr(channel, name)
        if value is not None and value < 1:
            raise Invalid(_("At least one, or nothing for what is known of the provider."), field=name)
    if target is not None:
        provider_of(channel.provider).check(target)


@contextmanager
def _unique_name() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        # A literal that clients of the reference control plane compare. Source: contract, Annex A.
        raise ChannelNameTaken(_("notification channel name already exists")) from error


# What history is told.


def channel_snapshot(channel: Channel) -> Snapshot:
    """What a channel holds, for `difference`: that its secrets changed is told, and nothing of them."""
    shown = copy.copy(channel)
    shown.options = _by_name(channel.options)
    values = dict(snapshot(shown))
    for name in SECRETS:
        stored = getattr(channel, name)
        values[name] = Value(_readable(stored), True if stored else "", is_secret=True)
    return values


def _by_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of names and values as objects, by whose names secrets are known; all values of headers are secret."""
    shown: dict[str, Any] = {}
    for name, value in options.items():
        if name == "headers":
            shown["headers"] = [each["key"] for each in value]
            shown["secret_headers"] = {each["key"]: _readable(each["value"]) for each in value}
        elif isinstance(value, list):
            shown[name] = {each["key"]: each["value"] for each in value}
        else:
            shown[name] = value
    return shown


def _readable(stored: str) -> str:
    """The secret; one encrypted anew is no other. Where its key is gone, what is stored."""
    try:
        return decrypt(stored)
    except SecretUnreadable:
        return stored
