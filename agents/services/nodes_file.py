"""nodes.json: the online nodes, written for other programs to read. Source: argus contract, nodes.json.

Every process that serves or works keeps the file with a thread of its own: at its start, soon after a change that it
made itself, and every SCHEDULER_INTERVAL_SECONDS. One of them writes at a time, by the lock of the row of NodesFile, or
of a file where the database is SQLite; what is written is read while it is held, so that an older list never comes over
a newer one.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec
from django.conf import settings
from django.db import DatabaseError, OperationalError, close_old_connections, connection, transaction
from django.utils import timezone

from agents.models import NodesFile
from agents.models.event import EventKind
from agents.selectors.discovery import ListedNode, listed_nodes
from agents.services.events import NewEvent, portal_event, record_events
from controlplane.common.database import is_lock_timeout, lock_timeout
from controlplane.common.files import discard_file, file_lock, holds, publish_file, remove_leftovers, stage_file

logger = logging.getLogger(__name__)

# Whoever scrapes is another user than the portal.
_MODE = 0o644
_ROW = 1
# A writer whose file system hangs keeps the lock. The others then leave it alone and look again later.
_LOCK_WAIT_MS = 5000
# How long a change waits for others of the same burst, at least, and in times of what the last write took: a fleet
# that comes back keeps no process busy with writing.
_BURST_S = 0.2
_BURST_WRITES = 9


class Outcome(StrEnum):
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    # Another process has been writing for long.
    BUSY = "busy"


def nodes_file_changed() -> None:
    """Call it inside the transaction that changed a node's status, labels or meta data, or took a node away.

    Once that is committed, the thread of this process looks at the file, once for a burst of changes. Costs nothing
    else. Where it is lost, or in a process that keeps no file, such as a shell, another process finds the change within
    SCHEDULER_INTERVAL_SECONDS.
    """
    transaction.on_commit(_changed.set, robust=True)


def write_nodes_file() -> Outcome:
    """Bring nodes.json to what the registry knows; a file that is so already is not touched.

    A file that cannot be written is noted in the row and, when that begins and ends, as an event; nothing is raised.
    Raises DatabaseError where the database does not answer. Cost: one query for all nodes, one row written.
    """
    path = Path(os.path.realpath(settings.METRIC_NODES_JSON_PATH))
    if connection.vendor == "sqlite":
        return _write_by_lock_file(path)
    try:
        with transaction.atomic():
            return _write(_locked_row(), path)
    except OperationalError as error:
        if is_lock_timeout(error):
            return Outcome.BUSY
        raise


def _locked_row() -> NodesFile:
    """The row, held until the transaction ends."""
    lock_timeout(_LOCK_WAIT_MS)
    row, _made = NodesFile.objects.select_for_update().get_or_create(pk=_ROW)
    return row


def _write_by_lock_file(path: Path) -> Outcome:
    """A transaction would keep the whole database to itself for as long as a slow or hanging file system takes."""
    with file_lock(settings.DATA_DIR / "nodes-file.lock", wait_s=_LOCK_WAIT_MS / 1000) as is_held:
        if not is_held:
            return Outcome.BUSY
        row, _made = NodesFile.objects.get_or_create(pk=_ROW)
        return _write(row, path)


def _write(row: NodesFile, path: Path) -> Outcome:
    row.path, row.checked_at = str(path), timezone.now()
    nodes = list(listed_nodes())
    content = nodes_json(nodes)
    outcome, failure = Outcome.UNCHANGED, ""
    try:
        remove_leftovers(path)
        if not holds(path, content):
            _replace(row, path, content)
            row.written_at, outcome = row.checked_at, Outcome.WRITTEN
    except OSError as error:
        outcome, failure = Outcome.FAILED, f"{path}: {error.strerror or error}"
    with transaction.atomic(savepoint=False):
        if failure:
            _note_failure(row, failure)
        else:
            row.node_count = len(nodes)
            _note_success(row)
        row.save()
    return outcome


def _replace(row: NodesFile, path: Path, content: bytes) -> None:
    staged = stage_file(path, content, mode=_MODE)
    try:
        # Proves that the lock is still held: a writer that hung for long may have lost it with its connection, and
        # what it read is then old.
        row.save(update_fields=["checked_at"])
    except DatabaseError:
        discard_file(staged)
        raise
    publish_file(staged, path)


def nodes_json(nodes: Iterable[ListedNode]) -> bytes:
    """The content of the file: `[]`, or an array with one node per line, for people who compare."""
    items = b",\n".join(map(_item, nodes))
    return b"[\n" + items + b"\n]" if items else b"[]"


def _item(node: ListedNode) -> bytes:
    item = {
        "node_id": node.node_id,
        "user_id": node.user,
        "ip": node.ip,
        "hostname": node.hostname,
        "labels": node.tags,
    }
    try:
        return _encode(item)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which SQLite keeps, is no text.
        return json.dumps(item, ensure_ascii=False).encode("utf-8", "replace")


_encode = msgspec.json.Encoder().encode


def _note_failure(row: NodesFile, reason: str) -> None:
    now = row.checked_at
    if row.failing_since is None:
        row.failing_since = now
        record_events([_event(EventKind.NODES_FILE_FAILED, now, message=reason)])
    row.error, row.failed_at, row.failed_by = reason, now, _writer_name()
    logger.warning("nodes_file.failed reason=%s", reason)


def _note_success(row: NodesFile) -> None:
    """End the failure where this writer had it, or where whoever had it tries no longer.

    That another can write proves nothing: on another host, or as another user, the same path is another story.
    """
    if row.failing_since is None:
        return
    now = row.checked_at
    recently = now - timedelta(seconds=2 * settings.SCHEDULER_INTERVAL_SECONDS)
    if row.failed_by != _writer_name() and row.failed_at is not None and row.failed_at > recently:
        return
    record_events([_event(EventKind.NODES_FILE_RECOVERED, now, message=row.path)])
    row.failing_since = row.failed_at = None
    row.error = row.failed_by = ""


def _event(kind: EventKind, at: datetime, *, message: str) -> NewEvent:
    return portal_event(kind, at=at, message=message, meta={"writer": _writer_name()})


def _writer_name() -> str:
    """Host and user: what decides whether a path can be written."""
    return f"{socket.gethostname()}, user {os.getuid()}"


class _Keeper:
    """The thread of this process that keeps the file, from the first part that asks for it until the last one ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._ended = threading.Event()
        self._first_done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, wait_s: float) -> bool:
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._ended, self._first_done = threading.Event(), threading.Event()
                # A daemon: a file system that hangs must not keep the process from ending.
                self._thread = threading.Thread(
                    target=self._run, args=(self._ended, self._first_done), name="nodes-file", daemon=True
                )
                self._thread.start()
            first_done = self._first_done
        return first_done.wait(wait_s)

    def stop(self, *, wait_s: float) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._ended.set()
        # Wakes it.
        _changed.set()
        thread.join(wait_s)

    def _run(self, ended: threading.Event, first_done: threading.Event) -> None:
        while not ended.is_set():
            _changed.clear()
            began = time.monotonic()
            _write_once()
            first_done.set()
            took_s = time.monotonic() - began
            if _changed.wait(settings.SCHEDULER_INTERVAL_SECONDS):
                ended.wait(min(max(_BURST_S, _BURST_WRITES * took_s), settings.SCHEDULER_INTERVAL_SECONDS))


def _write_once() -> None:
    try:
        outcome = write_nodes_file()
    except Exception as error:  # noqa: BLE001 -- outermost loop: the next round tries again
        logger.warning("nodes_file.unwritten error=%s", error)
    else:
        logger.debug("nodes_file.looked outcome=%s", outcome)
    finally:
        close_old_connections()


def keep_nodes_file(*, wait_s: float) -> bool:
    """Keep the file from now on, in a thread of this process; True once it was looked at for the first time.

    Waits for that for `wait_s` seconds at the most. Each call wants one of `leave_nodes_file`.
    """
    return _keeper.start(wait_s=wait_s)


def leave_nodes_file(*, wait_s: float) -> None:
    """End what `keep_nodes_file` began; a write that is under way has `wait_s` seconds to come to its end."""
    _keeper.stop(wait_s=wait_s)


@contextmanager
def kept_nodes_file() -> Iterator[None]:
    """The same for as long as the context lasts; waits neither for the first look nor for the last."""
    keep_nodes_file(wait_s=0)
    try:
        yield
    finally:
        leave_nodes_file(wait_s=0)


_changed = threading.Event()
_keeper = _Keeper()
