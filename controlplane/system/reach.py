"""Whether database, Redis, channel layer and broker answer, how fast, and whether their clocks agree with this one."""

import time
from dataclasses import dataclass
from typing import Final, Literal

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from controlplane.common.hints import echo

# Whoever takes longer does not answer.
WITHIN_S: Final = 1.0
ServerName = Literal["database", "redis", "channels", "broker"]
_THROUGH_REDIS: Final[tuple[ServerName, ...]] = ("channels", "broker")


@dataclass(frozen=True, slots=True)
class Reach:
    """One look. `skew_s` is how far the server's clock is ahead of this process's; None where it has none of its own.

    `waiting` is how many messages wait in the broker. `error` is the class of what went wrong, "" where nothing did.
    """

    name: ServerName
    ok: bool
    in_process: bool = False
    latency_ms: float | None = None
    skew_s: float | None = None
    waiting: int | None = None
    error: str = ""


def database_reach() -> Reach:
    is_remote = connection.vendor == "postgresql"
    statement = "SELECT extract(epoch FROM clock_timestamp())" if is_remote else "SELECT 1"
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            began, began_at = time.monotonic(), time.time()
            cursor.execute(statement)
            answer = float(cursor.fetchone()[0])
            took_s = time.monotonic() - began
    except DatabaseError as error:
        return Reach("database", ok=False, error=type(error).__name__)
    skew_s = _skew(answer, began_at, took_s) if is_remote else None
    return Reach("database", ok=True, in_process=not is_remote, latency_ms=_ms(took_s), skew_s=skew_s)


def redis_reach() -> Reach:
    if not settings.REDIS_URL:
        return Reach("redis", ok=True, in_process=True)
    client = _client()
    try:
        # Opens the connection, which is no part of the latency.
        client.ping()
        began, began_at = time.monotonic(), time.time()
        seconds, microseconds = client.time()
        took_s = time.monotonic() - began
    except redis.RedisError as error:
        return Reach("redis", ok=False, error=type(error).__name__)
    finally:
        client.close()
    skew_s = _skew(seconds + microseconds / 1e6, began_at, took_s)
    return Reach("redis", ok=True, latency_ms=_ms(took_s), skew_s=skew_s)


def channels_reach() -> Reach:
    """A message to this process and back."""
    try:
        took_s = echo(within_s=WITHIN_S)
    except Exception as error:  # noqa: BLE001 -- whatever the layer raises, nothing came back
        return Reach("channels", ok=False, error=type(error).__name__)
    return Reach("channels", ok=True, in_process=took_s is None, latency_ms=None if took_s is None else _ms(took_s))


def broker_reach() -> Reach:
    """How many messages wait in the queue of the background jobs; all of them are rung again by the next round."""
    if not settings.REDIS_URL:
        return Reach("broker", ok=True, in_process=True)
    queue = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"] + settings.CELERY_TASK_DEFAULT_QUEUE
    client = _client()
    try:
        client.ping()
        began = time.monotonic()
        waiting = int(client.llen(queue))
        took_s = time.monotonic() - began
    except redis.RedisError as error:
        return Reach("broker", ok=False, error=type(error).__name__)
    finally:
        client.close()
    return Reach("broker", ok=True, latency_ms=_ms(took_s), waiting=waiting)


def reaches() -> list[Reach]:
    """All of them, within some three times WITHIN_S. What goes through a Redis that is away is not asked any more."""
    database, hints = database_reach(), redis_reach()
    if hints.ok:
        return [database, hints, channels_reach(), broker_reach()]
    return [database, hints, *(Reach(name, ok=False, error=hints.error) for name in _THROUGH_REDIS)]


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=WITHIN_S,
        socket_timeout=WITHIN_S,
        retry=Retry(NoBackoff(), 0),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _skew(theirs: float, began_at: float, took_s: float) -> float:
    """By the middle of the round trip, which is wrong by half of it at most."""
    return round(theirs - (began_at + took_s / 2), 3)
