"""Channels: made, changed, tried and deleted. STAND-IN: to be replaced at merge."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.snapshots import NOTHING, Difference, difference, snapshot
from notifications.engine.rendering import card_of
from notifications.engine.telling import Telling
from notifications.errors import ChannelNameTaken
from notifications.models import Attempt, Channel, Delivery
from notifications.providers.base import Target, Verdict
from notifications.providers.registry import provider_of
from notifications.secrets import encrypt
from notifications.selectors.targets import target_of

_SECRET = ("address", "secret")
TIMEOUT_S = 5.0


def create_channel(values: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Make a channel of the fields of the model; `address` and `secret` come in clear. Raises Invalid and
    ChannelNameTaken."""
    plain = {name: value for name, value in values.items() if name not in _SECRET}
    target = Target(
        provider=values["provider"],
        address=values["address"],
        secret=values.get("secret", ""),
        options=values.get("options", {}),
    )
    provider = provider_of(target.provider)
    provider.check(target)
    channel = Channel(
        **plain,
        address=encrypt(target.address),
        secret=encrypt(target.secret),
        address_masked=provider.mask(target.address),
    )
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
            made = difference(NOTHING, snapshot(channel))
            record_changes([change_of(ChangeKind.CREATED, channel, actor=actor, what=made)])
    except IntegrityError as exc:
        raise _taken() from exc
    return channel


def update_channel(channel: Channel, changes: Mapping[str, Any], *, actor: Actor) -> Channel:
    """Change fields; `address` and `secret` come in clear, and stay where they are left out."""
    try:
        with transaction.atomic():
            stored = Channel.objects.select_for_update(no_key=True).get(pk=channel.pk)
            before = snapshot(stored)
            target = target_of(stored)
            for name, value in changes.items():
                setattr(stored, name, encrypt(value) if name in _SECRET else value)
            target = replace(
                target,
                provider=stored.provider,
                address=changes.get("address", target.address),
                secret=changes.get("secret", target.secret),
                options=stored.options,
            )
            provider = provider_of(stored.provider)
            provider.check(target)
            stored.address_masked = provider.mask(target.address)
            changed = difference(before, snapshot(stored))
            withheld = [*changed.withheld, *(name for name in _SECRET if name in changes)]
            changed = Difference(changed.before, changed.after, withheld)
            if changed:
                stored.save()
                record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    except IntegrityError as exc:
        raise _taken() from exc
    return stored


def set_enabled(channel: Channel, enabled: bool, *, actor: Actor) -> Channel:
    return update_channel(channel, {"enabled": enabled}, actor=actor)


@transaction.atomic
def delete_channel(channel: Channel, *, actor: Actor) -> None:
    """What is queued still goes out: its target is kept with each."""
    target = encrypt(msgspec.json.encode(target_of(channel)).decode())
    Delivery.objects.filter(channel=channel, status__in=Delivery.OPEN).update(target=target)
    gone = change_of(ChangeKind.DELETED, channel, actor=actor, what=difference(snapshot(channel), NOTHING))
    channel.delete()
    record_changes([gone])


def send_test(channel: Channel, message: str = "") -> Verdict:
    """Really send, whether the channel is enabled or not; the ledger has it."""
    now = timezone.now()
    telling = Telling(kind="test", message=message or _("This is a test of the channel."), since=now)
    zone = ZoneInfo(channel.time_zone or settings.TIME_ZONE)
    card = card_of(telling, language=channel.language, zone=zone, portal_url="")
    delivery = Delivery(
        channel=channel,
        channel_name=channel.name,
        provider=channel.provider,
        kind=Delivery.Kind.TEST,
        title=card.title[:500],
        card=msgspec.to_builtins(card),
        created_at=now,
        attempt_count=1,
    )
    delivery.dedupe_key = f"test:{delivery.pk}"
    verdict = provider_of(channel.provider).send(
        target_of(channel), card, delivery_id=str(delivery.pk), timeout_s=TIMEOUT_S
    )
    ended = timezone.now()
    delivery.status = Delivery.Status.DELIVERED if verdict.ok else Delivery.Status.FAILED
    told = {
        "status_code": verdict.status_code,
        "provider_code": verdict.provider_code,
        "response": verdict.response,
        "error": verdict.error,
    }
    delivery.finished_at = ended
    for name, value in told.items():
        setattr(delivery, name, value)
    with transaction.atomic():
        delivery.save(force_insert=True)
        Attempt.objects.create(
            delivery=delivery, channel=channel, started_at=now, finished_at=ended, succeeded=verdict.ok, **told
        )
    return verdict


def _taken() -> ChannelNameTaken:
    # A literal that clients of the reference control plane compare. Source: contract, Annex A.
    return ChannelNameTaken(_("notification channel name already exists"))
