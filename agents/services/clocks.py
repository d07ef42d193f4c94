"""Records whose time lies too far ahead: a wrong clock must not keep them on top of every list for years."""

import hashlib
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from agents.models import ClockCorrection
from controlplane.common import partitions

# How far a time may lie ahead of the portal's clock. What lies further ahead gets the latest time that may be.
AHEAD_MAX = timedelta(hours=1)


class Claim(NamedTuple):
    """A record's time, at most AHEAD_MAX after it came. `name` tells the record from all others of every sort.

    `reported_at` is what the agent's clock said where that lies further ahead; a record that comes again says the same.
    """

    name: str
    moment: datetime
    received_at: datetime
    reported_at: datetime | None


def settled_times(claims: Sequence[Claim]) -> list[datetime]:
    """The time of each record, which is the same however often and whenever the record comes.

    Where tables are partitioned, a record is known by its name and its time, and a corrected time depends on when the
    record came: so the first correction is kept for those that come after it, which may need none any more. Call it
    inside the transaction that stores the records. Cost: one probe by time; two statements more where a clock runs
    ahead now, and one where a record has the very time that some record was corrected from. Two processes that take the
    first of one record at once, just as its time comes within AHEAD_MAX, may store it twice.
    """
    moments = [claim.moment for claim in claims]
    if not claims or not partitions.are_supported():
        return moments
    corrected = [claim for claim in claims if claim.reported_at is not None]
    if corrected:
        _keep(corrected)
    known = _corrected_times([claim.moment for claim in claims if claim.reported_at is None])
    if not corrected and not known:
        return moments
    keys = {
        number: _key(claim)
        for number, claim in enumerate(claims)
        if claim.reported_at is not None or claim.moment in known or _UNKNOWN in known
    }
    if keys:
        settled = dict(ClockCorrection.objects.filter(pk__in=keys.values()).values_list("pk", "moment"))
        for number, key in keys.items():
            moments[number] = settled.get(key, moments[number])
    return moments


def _keep(corrected: Sequence[Claim]) -> None:
    rows = [
        ClockCorrection(key=_key(claim), moment=claim.moment, reported_at=claim.reported_at, made_at=claim.received_at)
        for claim in corrected
    ]
    # Sorted, so that two processes wait for each other's keys in one order.
    ClockCorrection.objects.bulk_create(sorted(rows, key=lambda row: row.key), ignore_conflicts=True)


# What a correction has in place of the time that it was made from, where it was made before that was kept.
_UNKNOWN = None
# Up to so many are read to see whether a batch has one of them; naming each time of a large batch takes milliseconds.
_NEIGHBOURS_MAX = 500
_NEIGHBOURS = """
(SELECT DISTINCT reported_at FROM agents_clockcorrection WHERE reported_at BETWEEN %s AND %s
 ORDER BY reported_at LIMIT %s)
UNION ALL SELECT NULL WHERE EXISTS (SELECT FROM agents_clockcorrection WHERE reported_at IS NULL)
"""


def _corrected_times(times: Sequence[datetime]) -> Set[datetime | None]:
    """From which of these times records were corrected, and perhaps from which others.

    _UNKNOWN is among them where that is not known of all corrections.
    """
    if not times:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_NEIGHBOURS, [min(times), max(times), _NEIGHBOURS_MAX])
        found = {moment for (moment,) in cursor.fetchall()}
    if len(found) < _NEIGHBOURS_MAX or _UNKNOWN in found:
        return found
    exact = ClockCorrection.objects.filter(reported_at__in=set(times))
    return set(exact.values_list("reported_at", flat=True).distinct())


def _key(claim: Claim) -> str:
    return hashlib.sha256(claim.name.encode()).hexdigest()
