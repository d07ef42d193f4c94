"""What came of an attempt: written to it, to its delivery and to its channel, with the events of the latter."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from agents.models.event import EventKind
from agents.services.events import portal_event, record_events
from controlplane.common.changes import subject_of
from controlplane.common.clean import clean_text
from controlplane.common.database import database_now
from notifications.models import Attempt, Channel, Delivery
from notifications.providers.base import Verdict
from notifications.selectors.deliveries import lane_deliveries
from notifications.services.claims import Claim, locked
from notifications.services.ledger import count_ended

Status = Delivery.Status
RESPONSE_MAX_CHARS: Final = 4000
ERROR_MAX_CHARS: Final = 2000
RETRY_FIRST_S: Final = 2
RETRY_MAX_S: Final = 300
# No provider holds a channel back for longer, whatever it asks for.
RETRY_AFTER_MAX_S: Final = 3600
# Channels that fell silent together do not come back in step; never earlier than the contract has it.
JITTER: Final = 0.1
# Too many requests, and what proxies say for somebody who is not there.
_AWAY: Final = frozenset({429, 502, 503, 504})


def retry_delay_s(attempt_count: int) -> int:
    """How long after so many attempts the next one is made. Source: contract 7.4."""
    return min(RETRY_MAX_S, RETRY_FIRST_S << min(attempt_count - 1, 16))


def record(claimed: Claim, verdict: Verdict, *, now: datetime | None = None) -> None:
    """Write down what came of an attempt: of it, of its delivery and of its channel, with the events of the latter.

    A success counts however late it comes. A failure of somebody whose claim had run out changes nothing but the
    attempt: another has the delivery by now.
    """
    with transaction.atomic():
        channel = locked(claimed.lane)
        now = now or database_now()
        told = _told(verdict)
        Attempt.objects.filter(pk=claimed.attempt_id).update(finished_at=now, succeeded=verdict.ok, **told)
        if verdict.ok:
            if _deliver(claimed, told, now) and channel is not None:
                _note_success(channel, now)
        else:
            _note_failure(claimed, verdict, told, channel, now)


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "status_code": verdict.status_code,
        "provider_code": clean_text(verdict.provider_code, 64),
        "response": clean_text(verdict.response, RESPONSE_MAX_CHARS),
        "error": clean_text(verdict.error, ERROR_MAX_CHARS),
    }


def _deliver(claimed: Claim, told: dict[str, Any], now: datetime) -> bool:
    row = Delivery.objects.filter(pk=claimed.delivery.pk, status__in=(*Delivery.OPEN, Status.FAILED))
    ends = {"claimed_until": None, "next_attempt_at": None, "finished_at": now}
    if not row.update(status=Status.DELIVERED, **ends, **told):
        return False
    count_ended(claimed.delivery.provider, Status.DELIVERED)
    return True


def _note_success(channel: Channel, now: datetime) -> None:
    Channel.objects.filter(pk=channel.pk).update(last_success_at=now, failing_since=None, held_until=None)
    if channel.failing_since is not None:
        meta = {"provider": channel.provider, "failing_since": channel.failing_since.isoformat()}
        _tell(channel, EventKind.CHANNEL_RECOVERED, now, meta)


def _note_failure(
    claimed: Claim, verdict: Verdict, told: dict[str, Any], channel: Channel | None, now: datetime
) -> None:
    delivery = claimed.delivery
    is_test = delivery.kind == Delivery.Kind.TEST
    is_last = verdict.is_permanent or is_test or delivery.attempt_count >= settings.NOTIFY_MAX_ATTEMPTS
    again_at = now + timedelta(seconds=_patience_s(delivery.attempt_count, verdict))
    row = Delivery.objects.filter(pk=delivery.pk, status=Status.SENDING, claimed_until=claimed.until)
    if is_last:
        changed = row.update(status=Status.FAILED, claimed_until=None, next_attempt_at=None, finished_at=now, **told)
    else:
        changed = row.update(status=Status.PENDING, claimed_until=None, next_attempt_at=again_at, **told)
    if not changed:
        return
    if is_last:
        count_ended(delivery.provider, Status.FAILED)
    # Who does not answer, or asks for patience, would do so for any other message.
    holds = not is_test and not verdict.is_permanent and _is_of_channel(verdict)
    if channel is None:
        if holds:
            lane_deliveries(claimed.lane).filter(status=Status.PENDING).update(next_attempt_at=again_at)
        return
    _note_failing(channel, told, now, began=_began(delivery, now) if is_last and not is_test else None)
    if holds:
        Channel.objects.filter(pk=channel.pk).update(held_until=again_at)


def _patience_s(attempt_count: int, verdict: Verdict) -> float:
    own = retry_delay_s(attempt_count) * random.uniform(1, 1 + JITTER)  # noqa: S311 -- no secret
    asked = verdict.retry_after_s or 0
    return max(own, min(asked, RETRY_AFTER_MAX_S))


def _is_of_channel(verdict: Verdict) -> bool:
    return verdict.status_code is None or verdict.retry_after_s is not None or verdict.status_code in _AWAY


def _began(delivery: Delivery, now: datetime) -> datetime:
    """When the first attempt at it was made."""
    first = (
        Attempt.objects.filter(delivery=delivery).order_by("started_at").values_list("started_at", flat=True).first()
    )
    return first or now


def _note_failing(channel: Channel, told: dict[str, Any], now: datetime, *, began: datetime | None) -> None:
    """The channel failed just now; with `began`, it has given something up and fails since then."""
    changes: dict[str, Any] = {"last_failure_at": now, "last_error": told["error"]}
    starts = began is not None and channel.failing_since is None
    if starts:
        changes["failing_since"] = began
    Channel.objects.filter(pk=channel.pk).update(**changes)
    if starts:
        meta = {"provider": channel.provider, "error": told["error"], "code": told["provider_code"]}
        _tell(channel, EventKind.CHANNEL_FAILING, now, {name: value for name, value in meta.items() if value})


def _tell(channel: Channel, kind: EventKind, now: datetime, meta: Mapping[str, str]) -> None:
    record_events([portal_event(kind, at=now, subject=subject_of(channel), message=channel.name, meta=dict(meta))])
