"""Trying a channel: a message that is really sent, at once, by whoever asks for it."""

import math
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, override

from controlplane.common.database import database_now
from notifications.engine.telling import Telling
from notifications.errors import ChannelBusy, ChannelUnknown
from notifications.models import Channel, Delivery
from notifications.providers.base import Verdict
from notifications.providers.budgets import budget_of
from notifications.selectors.deliveries import MINUTE, SECOND, Lane, is_spent, lane_attempts, used
from notifications.services.claims import Claim, begin_attempt, locked_channel
from notifications.services.ledger import frozen_card, next_delivery_id
from notifications.services.outcomes import record
from notifications.services.sending import send


def send_test(channel: Channel, message: str = "") -> Verdict:
    """Send a test, also by a channel that is off or held back, and return what the provider said.

    It counts against the budget like any message, is in the ledger, and is not tried again. A success ends the failing
    of a channel; a failure is told to whoever tests, and to nobody else. Raises ChannelUnknown, and ChannelBusy where
    the budget is used up. It takes as long as the provider does, NOTIFY_TIMEOUT_S at the most.
    """
    claimed = _begin(channel, message)
    verdict = send(claimed.delivery)
    record(claimed, verdict)
    return verdict


def _begin(channel: Channel, message: str) -> Claim:
    with transaction.atomic():
        stored = locked_channel(channel.pk)
        if stored is None:
            raise ChannelUnknown(f"notification channel {channel.pk} was not found")
        lane, now = Lane(stored.pk), database_now()
        _ensure_budget(stored, lane, now)
        with override(stored.language):
            telling = Telling(kind="test", message=message or _("This is a test of the channel."), since=now)
        title, card = frozen_card(telling, language=stored.language, time_zone=stored.time_zone)
        delivery = Delivery(
            id=next_delivery_id(),
            channel=stored,
            channel_name=stored.name,
            provider=stored.provider,
            kind=Delivery.Kind.TEST,
            title=title,
            card=card,
            event_at=now,
            created_at=now,
        )
        delivery.dedupe_key = f"test:{delivery.pk}"
        delivery.save(force_insert=True)
        return begin_attempt(delivery, lane, now=now)


def _ensure_budget(channel: Channel, lane: Lane, now: datetime) -> None:
    budget = budget_of(channel.provider, channel.per_second, channel.per_minute)
    use = used(lane, now=now)
    for begun, limit, span in ((use.minute, budget.per_minute, MINUTE), (use.second, budget.per_second, SECOND)):
        if not is_spent(begun, limit):
            continue
        # The place of this one is free when that many attempts ago is long enough ago.
        oldest = lane_attempts(lane, since=now - span).order_by("-started_at")[limit - 1]
        wait_s = max(1, math.ceil((oldest.started_at + span - now).total_seconds()))
        text = ngettext(
            "The channel has used up what it may send for now. Try again in %d second.",
            "The channel has used up what it may send for now. Try again in %d seconds.",
            wait_s,
        )
        raise ChannelBusy(text % wait_s, retry_after_s=wait_s)
