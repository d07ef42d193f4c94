"""Out of the outbox: one delivery of a lane at a time, within the budget of its channel.

Nothing but the rows counts: a lane (`selectors.deliveries.Lane`) is claimed under a lock of its channel, whoever asks
and however many do. An attempt is written before it is made. A worker that dies while it sends is out of the way when
its claim has run out, and its delivery is tried again: at least once, with the same id. Source: contract 7.4.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q
from django.utils.translation import gettext_noop

from controlplane.common.database import database_now
from notifications.models import Attempt, Channel, Delivery
from notifications.providers.budgets import Budget, budget_of
from notifications.selectors.deliveries import Lane, due_q, is_spent, lane_deliveries, used
from notifications.selectors.targets import thawed_route
from notifications.services.folding import fold_overflow
from notifications.services.ledger import count_ended

Status = Delivery.Status
LOST: Final = gettext_noop("The worker that sent it ended before it wrote down the answer.")
# The first key of an advisory lock; the second is made of the name of a channel that is gone.
_ADVISORY_LOCK: Final = 0x6E6F7469


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt that is to be made now, by whoever holds this. `until` is when the claim runs out."""

    delivery: Delivery
    attempt_id: int
    until: datetime
    lane: Lane


def claim_seconds() -> int:
    """For how long a claim holds: longer than an attempt takes, whatever happens to it."""
    return 3 * settings.NOTIFY_TIMEOUT_S + 15


def claim(lane: Lane, *, now: datetime | None = None) -> Claim | None:
    """Take the oldest delivery of a lane that is due, and write down the attempt.

    None where nothing is due, where the lane is being sent by somebody else, waits for its provider or has used up its
    budget. What is more than the budget takes folds into a digest. `now` is the database's, unless it is given.
    """
    with transaction.atomic():
        channel = locked(lane)
        if lane.channel_id is not None and (channel is None or not channel.enabled):
            return None
        now = now or database_now()
        if channel is not None and channel.held_until is not None and channel.held_until > now:
            return None
        state = _state(lane, now)
        if state["in_flight"]:
            return None
        if state["lost"]:
            _take_back(lane, now)
        budget = _budget(lane, channel)
        use = used(lane, now=now)
        if is_spent(use.second, budget.per_second) or is_spent(use.minute, budget.per_minute):
            return None
        if budget.per_minute:
            fold_overflow(lane, channel, room=budget.per_minute - use.minute, now=now)
        due = lane_deliveries(lane).filter(due_q(now)).select_related("channel")
        delivery = due.order_by("created_at", "id").first()
        return begin_attempt(delivery, lane, now=now) if delivery is not None else None


def begin_attempt(delivery: Delivery, lane: Lane, *, now: datetime) -> Claim:
    """Write down that it is being sent; call it under the lock of its channel."""
    until = now + timedelta(seconds=claim_seconds())
    delivery.status, delivery.claimed_until = Status.SENDING, until
    delivery.attempt_count += 1
    delivery.save(update_fields=["status", "claimed_until", "attempt_count"])
    attempt = Attempt.objects.create(delivery=delivery, channel_id=delivery.channel_id, started_at=now)
    return Claim(delivery=delivery, attempt_id=attempt.pk, until=until, lane=lane)


def locked_channel(channel_id: int) -> Channel | None:
    """The channel, locked for this transaction; new deliveries and rules may still name it meanwhile."""
    return Channel.objects.select_for_update(no_key=True).filter(pk=channel_id).first()


def locked(lane: Lane) -> Channel | None:
    if lane.channel_id is not None:
        return locked_channel(lane.channel_id)
    # What is left of a deleted channel has no row to lock. SQLite lets one transaction write at a time anyway.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_ADVISORY_LOCK, lane.name])
    return None


def _state(lane: Lane, now: datetime) -> dict[str, int]:
    """How many deliveries of a lane are being sent, tests aside, and how many were by somebody who is gone."""
    sending = Q(status=Status.SENDING)
    return lane_deliveries(lane).aggregate(
        in_flight=Count("pk", filter=sending & Q(claimed_until__gt=now) & ~Q(kind=Delivery.Kind.TEST)),
        lost=Count("pk", filter=sending & Q(claimed_until__lte=now)),
    )


def _budget(lane: Lane, channel: Channel | None) -> Budget:
    if channel is not None:
        return budget_of(channel.provider, channel.per_second, channel.per_minute)
    provider, target = lane_deliveries(lane).values_list("provider", "target").first() or ("", "")
    try:
        return thawed_route(target).budget
    except Exception:  # noqa: BLE001 -- of whatever kind: the attempt fails by it, and says so
        return budget_of(provider, None, None)


def _take_back(lane: Lane, now: datetime) -> None:
    """Deliveries whose worker is gone wait again, unless that was their last attempt; nobody knows what came of it."""
    lost = lane_deliveries(lane).filter(status=Status.SENDING, claimed_until__lte=now)
    Attempt.objects.filter(delivery__in=lost, finished_at=None).update(finished_at=now, error=LOST)
    # Whoever made a test has long gone on.
    over = Q(attempt_count__gte=settings.NOTIFY_MAX_ATTEMPTS) | Q(kind=Delivery.Kind.TEST)
    ended = dict(lost.filter(over).order_by().values_list("provider").annotate(count=Count("pk")))
    gone = {"claimed_until": None, "next_attempt_at": None, "finished_at": now}
    lost.filter(over).update(status=Status.FAILED, error=LOST, **gone)
    lost.update(status=Status.PENDING, error=LOST, claimed_until=None, next_attempt_at=now)
    for provider, count in ended.items():
        count_ended(provider, Status.FAILED, count)
