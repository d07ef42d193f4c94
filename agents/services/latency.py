"""How long database and Redis take to answer this process, measured by each process for itself."""

import time
from functools import cache
from typing import Final, TypedDict

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

# A Redis that takes longer does not answer, as far as hints go.
REDIS_WITHIN_S: Final = 1.0


class LatencyFigures(TypedDict, total=False):
    """Seconds of one round trip, of what was measured; `redis_s` is None where Redis did not answer."""

    database_s: float
    redis_s: float | None


def database_latency_s() -> float:
    """Seconds of one round trip on this thread's connection. Raises what the database says, or does not."""
    with connection.cursor() as cursor:
        began = time.monotonic()
        cursor.execute("SELECT 1")
    return time.monotonic() - began


def redis_latency_s() -> float | None:
    """Seconds of one round trip; None where Redis does not answer within REDIS_WITHIN_S."""
    client = _client(settings.REDIS_URL)
    began = time.monotonic()
    try:
        client.ping()
    except redis.RedisError:
        return None
    return time.monotonic() - began


@cache
def _client(url: str) -> redis.Redis:
    # Once more at once: the first attempt may have met a connection that Redis has forgotten.
    retry = Retry(NoBackoff(), 1)
    return redis.Redis.from_url(
        url, socket_connect_timeout=REDIS_WITHIN_S, socket_timeout=REDIS_WITHIN_S, retry=retry, max_connections=4
    )
