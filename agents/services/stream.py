"""Looking after what the stream of events is read by."""

import logging

from django.db import connection

from agents.models import Event
from agents.selectors.stream import STREAMED_SQL

logger = logging.getLogger(__name__)


def forget_foreign_transactions() -> int:
    """Take events out of the stream whose transactions this server has yet to begin; how many there were.

    A dump that was restored brings them from another server. They would come up in the stream when this one gets so
    far, years late. One probe of an index where there are none; elsewhere than on PostgreSQL nothing is done.
    """
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_FORGET)
        forgotten: int = cursor.rowcount
    if forgotten:
        logger.warning("stream.foreign_events count=%d", forgotten)
    return forgotten


_FORGET = (
    f"UPDATE {Event._meta.db_table} SET txid = NULL WHERE {STREAMED_SQL} AND txid IS NOT NULL "  # noqa: S608 -- own names
    "AND txid >= pg_snapshot_xmax(pg_current_snapshot())"
)
