"""Records whose time lies too far ahead: a wrong clock must not keep them on top of every list for years."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from agents.models import ClockCorrection
from controlplane.common import partitions

# How far a time may lie ahead of the portal's clock. What lies further ahead gets the latest time that may be.
AHEAD_MAX = timedelta(hours=1)


class Claim(NamedTuple):
    """A record's time, at most AHEAD_MAX after it came. `name` tells the record from all others of every sort."""

    name: str
    moment: datetime
    received_at: datetime


def settled_times(claims: Sequence[Claim]) -> list[datetime]:
    """The time of each record, which is the same however often and whenever the record comes.

    Where tables are partitioned, a record is known by its name and its time, and a corrected time depends on when the
    record came: so the first correction is kept for those that come after it, which may need none any more. Call it
    inside the transaction that stores the records. Cost: one probe of an empty table; where the clock of any agent runs
    ahead, two statements. Two processes that take the first of one record at once, just as its time comes within
    AHEAD_MAX, may store it twice.
    """
    moments = [claim.moment for claim in claims]
    if not claims or not partitions.are_supported():
        return moments
    corrected = [claim for claim in claims if claim.moment - claim.received_at == AHEAD_MAX]
    if not corrected and not ClockCorrection.objects.exists():
        return moments
    # Sorted, so that two processes wait for each other's keys in one order.
    rows = [ClockCorrection(key=_key(claim), moment=claim.moment, made_at=claim.received_at) for claim in corrected]
    ClockCorrection.objects.bulk_create(sorted(rows, key=lambda row: row.key), ignore_conflicts=True)
    keys = [_key(claim) for claim in claims]
    settled = dict(ClockCorrection.objects.filter(pk__in=keys).values_list("pk", "moment"))
    return [settled.get(key, moment) for key, moment in zip(keys, moments, strict=True)]


def _key(claim: Claim) -> str:
    return hashlib.sha256(claim.name.encode()).hexdigest()
