"""What the two databases have in common, and connections of threads that must not wait for anybody else's."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend


def any_of(values: Collection[str | UUID]) -> tuple[str, list[Any]]:
    """The end of a condition, behind a column: that it is any of these values; with its parameters."""
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        return "= ANY(%s)", [list(values)]
    stored = [value.hex if isinstance(value, UUID) else value for value in values]
    return f"IN ({', '.join(['%s'] * len(stored))})", stored


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
        own = configured | {"OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        connection = load_backend(own["ENGINE"]).DatabaseWrapper(own, DEFAULT_DB_ALIAS)
        # For `close`, which is called from another thread.
        connection.inc_thread_sharing()
        connections[DEFAULT_DB_ALIAS] = connection
        self._opened.append(connection)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
