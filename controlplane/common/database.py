"""What the two databases have in common, and connections of threads that must not wait for anybody else's."""

import select
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend
from django.utils import timezone
from psycopg.errors import LockNotAvailable, QueryCanceled


def any_of(values: Collection[str | UUID]) -> tuple[str, list[Any]]:
    """The end of a condition, behind a column: that it is any of these values; with its parameters."""
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        return "= ANY(%s)", [list(values)]
    stored = [value.hex if isinstance(value, UUID) else value for value in values]
    return f"IN ({', '.join(['%s'] * len(stored))})", stored


def typed_rows(
    statement: str, parameters: Sequence[Any], fields: "tuple[models.Field[Any, Any] | None, ...]"
) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement whose columns are these fields', with the values that a model instance would have.

    A column that is no field's (None) is given as it comes. For the busiest paths: a raw query of the ORM makes a model
    instance of each row, which takes several times as long.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    converters = _converters(fields, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for found in cursor.fetchall():
            row = list(found)
            for position, convert, expression in converters:
                row[position] = convert(row[position], expression, connection)
            yield tuple(row)


@cache
def _converters(
    fields: "tuple[models.Field[Any, Any] | None, ...]",
    vendor: str,  # noqa: ARG001 -- part of the key
) -> list[tuple[int, Callable[..., Any], Any]]:
    """What turns a value of the database into one of Python, each with the position of its column.

    SQLite's belong to the connection of the first thread that asked, and work for all.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    columns = [
        (position, field.get_col(field.model._meta.db_table))
        for position, field in enumerate(fields)
        if field is not None
    ]
    return [
        (position, convert, column)
        for position, column in columns
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
    ]


class TookTooLong(Exception):
    """A statement was cut."""


_is_limited: ContextVar[bool] = ContextVar("is_limited", default=False)


@contextmanager
def statements_within(milliseconds: int) -> Iterator[None]:
    """A transaction in which PostgreSQL cuts a statement that takes longer (TookTooLong).

    Within another one it costs nothing: that one's limit holds. SQLite knows no such limit, and a transaction there
    would keep writers out.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        yield
        return
    try:
        if _is_limited.get():
            yield
            return
        token = _is_limited.set(True)
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    # To compile a statement takes longer than what any of these may take.
                    cursor.execute(
                        "SELECT set_config('statement_timeout', %s, true), set_config('jit', 'off', true)",
                        [str(milliseconds)],
                    )
                yield
        finally:
            _is_limited.reset(token)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TookTooLong from error
        raise


def read_in_order() -> None:
    """Let PostgreSQL read what follows in this transaction in the order of an index, until it has enough.

    For the first rows of many that match: it expects few where it has no statistics of several columns at once, and
    would read and sort all. Where in truth few match, and no index has them in order, it costs a whole table.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql" and connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true), "
                "set_config('jit', 'off', true)"
            )


# How long a change of a table waits for those who use it, how often it is tried again, and after which pause.
LOCK_WAIT_MS = 1000
LOCK_ATTEMPTS = 100
LOCK_PAUSE_S = 5.0


def run_when_free(statement: str, connection: BaseDatabaseWrapper) -> None:
    """Run a statement of PostgreSQL's that needs a table for itself, in a savepoint where the caller has a transaction.

    All who come meanwhile queue up behind it, also those who would not have to wait for the one who has the table now:
    so it waits for LOCK_WAIT_MS at a time, and lets them pass. Raises OperationalError after LOCK_ATTEMPTS.
    """
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_WAIT_MS}ms"])
                cursor.execute(statement)
        except OperationalError as error:
            if attempt == LOCK_ATTEMPTS or not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def lock_timeout(milliseconds: int) -> None:
    """Let the statements of this transaction wait so long for a lock; then they fail (`is_lock_timeout`).

    SQLite's transactions wait for theirs before they begin, as long as the settings say.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])


def is_lock_timeout(error: OperationalError) -> bool:
    return isinstance(error.__cause__, LockNotAvailable)


def database_now() -> datetime:
    """The time by the clock of the database, which all processes share; SQLite's is that of its one host.

    One statement on PostgreSQL. Inside a transaction it goes on.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


class OwnConnections:
    """Gives each thread of an executor a connection of its own, outside the pool that requests share.

    Slow pages may then take every connection of the pool, and agents are still heard. Pass `open` as the executor's
    initializer; `connections` keeps its wrappers per thread. Call `close` when the threads have nothing more to do.
    """

    def __init__(self) -> None:
        self._opened: list[BaseDatabaseWrapper] = []

    def open(self) -> None:
        configured = connections.settings[DEFAULT_DB_ALIAS]
        options = {name: value for name, value in configured["OPTIONS"].items() if name != "pool"}
        own = configured | {"OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}
        connection = load_backend(own["ENGINE"]).DatabaseWrapper(own, DEFAULT_DB_ALIAS)
        # For `close`, which is called from another thread.
        connection.inc_thread_sharing()
        connections[DEFAULT_DB_ALIAS] = connection
        self._opened.append(connection)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


def renew_connection() -> None:
    """Close this thread's connection if an error spoilt it or the server has hung up; the next query opens another.

    Django asks the server for that, at a round trip each time. Here the socket is looked at, which costs nothing: the
    server says something to an idle connection when it ends it, and hardly ever else.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.connection is None or connection.in_atomic_block:
        return
    if connection.errors_occurred or (_has_news(connection) and not connection.is_usable()):
        connection.close()


def _has_news(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "postgresql":
        return False
    poll = select.poll()
    poll.register(connection.connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
