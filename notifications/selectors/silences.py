"""Silences: which are in force, until when, and what they keep quiet."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from django.db.models import Count, Q, QuerySet

from notifications.engine.rounds import Round, rounds
from notifications.errors import SilenceUnknown
from notifications.models import Alert, AlertMember, Silence

SilenceState = Literal["active", "between", "upcoming", "over", "cancelled"]
# A round of a weekly one begins within a week, and lasts no longer than one.
_AHEAD: Final = timedelta(days=15)


def silences() -> QuerySet[Silence]:
    """All, those that begin last first."""
    return Silence.objects.order_by("-starts_at", "-id")


def get_silence(silence_id: int) -> Silence:
    """Raises SilenceUnknown."""
    silence = Silence.objects.filter(pk=silence_id).first()
    if silence is None:
        raise SilenceUnknown(f"silence {silence_id} was not found")
    return silence


def live_q(now: datetime) -> Q:
    """Matches silences that are in force, or may be again."""
    return Q(cancelled_at__isnull=True) & (Q(ends_at__isnull=True) | Q(ends_at__gt=now))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a silence stands: `round` is the one in force, or the next one; None where none follows."""

    state: SilenceState
    round: Round | None


def standing_of(silence: Silence, *, now: datetime) -> Standing:
    """No query."""
    if silence.cancelled_at is not None:
        return Standing("cancelled", None)
    found = next(rounds(silence, now, max(now, silence.starts_at) + _AHEAD), None)
    if found is None:
        return Standing("over", None)
    if found.begins <= now:
        return Standing("active", found)
    return Standing("upcoming" if silence.starts_at > now or not silence.recurs else "between", found)


def rounds_ahead(*, now: datetime, days: int, limit: int) -> list[tuple[Round, Silence]]:
    """The rounds that are in force now or begin within so many days, in order. One query."""
    until = now + timedelta(days=days)
    rows = Silence.objects.filter(live_q(now), starts_at__lt=until).order_by("starts_at", "id")[:limit]
    found = [(each, silence) for silence in rows for each in rounds(silence, now, until)]
    return sorted(found, key=lambda pair: (pair[0].begins, pair[1].pk))[:limit]


def silenced_counts(rows: Collection[Silence]) -> dict[int, int]:
    """How many subjects of alerts that are not over each of these silences keeps quiet. One query."""
    kept_quiet = AlertMember.objects.filter(silence__in=[row.pk for row in rows], ended_at__isnull=True)
    counted = kept_quiet.exclude(alert__status=Alert.Status.RESOLVED).order_by().values_list("silence")
    return dict(counted.annotate(count=Count("pk")).values_list("silence", "count"))
