"""Folding: what a channel cannot be told within its budget becomes one digest, which counts all of it.

The newest are folded, since the oldest waited longest; each stays in the ledger with the digest that it is in. A digest
that has not been tried takes in what comes after it.
"""

from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import override

from notifications.engine.telling import Telling
from notifications.models import Channel, Delivery, EventType
from notifications.selectors.deliveries import Lane, due_q, lane_deliveries
from notifications.selectors.targets import thawed_route
from notifications.services.ledger import count_ended, frozen_card, next_delivery_id

Kind, Status = Delivery.Kind, Delivery.Status
# So many titles are counted one by one; the others by what they are about.
TITLES_MAX: Final = 15


def fold_overflow(lane: Lane, channel: Channel | None, *, room: int, now: datetime) -> Delivery | None:
    """Fold what is due beyond the `room` attempts that are left of the budget; call it under the lock of the lane.

    The last of these attempts is the digest's. What was tried before is not folded: it may have arrived.
    Returns the digest, None where everything finds room. One query where it does.
    """
    due = lane_deliveries(lane).filter(due_q(now))
    untried = Q(attempt_count=0) & ~Q(kind__in=(Kind.DIGEST, Kind.TEST))
    counts = due.aggregate(all=Count("pk"), untried=Count("pk", filter=untried))
    if counts["all"] <= room:
        return None
    digest = due.filter(kind=Kind.DIGEST, attempt_count=0).order_by("created_at", "id").first()
    # What is not to be folded goes first, and a digest of its own is one more.
    kept = max(0, room - (counts["all"] - counts["untried"]) - (digest is None))
    folded = counts["untried"] - kept
    if folded < (1 if digest else 2):
        return None
    stay = list(due.filter(untried).order_by("created_at", "id").values_list("pk", flat=True)[:kept])
    if digest is None:
        digest = _new_digest(lane, channel, due, now)
    fold = due.filter(untried).exclude(pk__in=stay)
    by_provider = dict(fold.order_by().values_list("provider").annotate(count=Count("pk")))
    fold.update(status=Status.FOLDED, folded_into=digest, next_attempt_at=None, finished_at=now)
    for provider, count in sorted(by_provider.items()):
        count_ended(provider, Status.FOLDED, count)
    _write(digest, channel)
    return digest


def _new_digest(lane: Lane, channel: Channel | None, due: QuerySet[Delivery], now: datetime) -> Delivery:
    like = due.order_by("-created_at", "-id").only("provider", "channel_name", "target")[0]
    digest = Delivery(
        id=next_delivery_id(),
        channel_id=lane.channel_id,
        channel_name=channel.name if channel else like.channel_name,
        provider=channel.provider if channel else like.provider,
        target=like.target,
        kind=Kind.DIGEST,
        created_at=now,
    )
    digest.dedupe_key = f"digest:{digest.pk}"
    digest.save(force_insert=True)
    return digest


def _write(digest: Delivery, channel: Channel | None) -> None:
    """Count what is in it, and say so on its card."""
    language, time_zone = _place(digest, channel)
    telling = _telling(digest, language)
    digest.title, digest.card = frozen_card(telling, language=language, time_zone=time_zone)
    digest.event_count, digest.event_at = telling.event_count, telling.since
    digest.save(update_fields=["title", "card", "event_count", "event_at"])


def _place(digest: Delivery, channel: Channel | None) -> tuple[str, str]:
    if channel is not None:
        return channel.language, channel.time_zone
    try:
        route = thawed_route(digest.target)
    except Exception:  # noqa: BLE001 -- of whatever kind: the attempt fails by it, and says so
        return settings.LANGUAGE_CODE, ""
    return route.target.language, route.time_zone


def _telling(digest: Delivery, language: str) -> Telling:
    folded = Delivery.objects.filter(folded_into=digest).order_by()
    happened = Coalesce("event_at", "created_at")
    whole = folded.aggregate(events=Sum("event_count"), count=Count("pk"), since=Min(happened), until=Max(happened))
    counted = folded.values("title").annotate(events=Sum("event_count")).order_by("-events", "title")
    titles = [(row["title"], row["events"]) for row in counted[: TITLES_MAX + 1]]
    if len(titles) > TITLES_MAX:
        titles = titles[: TITLES_MAX - 1]
        others = folded.exclude(title__in=[title for title, _events in titles])
        titles += _by_type(others.values_list("event_type").annotate(events=Sum("event_count")), language)
    return Telling(
        kind="digest",
        event_count=whole["events"],
        subject_count=whole["count"],
        since=whole["since"],
        until=whole["until"],
        digest_counts=tuple(titles),
    )


def _by_type(counted: QuerySet[Any], language: str) -> list[tuple[str, int]]:
    """The rest of the titles, by the type of their events."""
    found = []
    with override(language):
        for event_type, events in counted.order_by("-events", "event_type"):
            label = EventType(event_type).label if event_type in EventType.values else _("Others")
            found.append((_("%s, others") % label if event_type else str(label), events))
    return found
