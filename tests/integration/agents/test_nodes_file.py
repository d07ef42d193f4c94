"""nodes.json: what it holds, when it is written, what becomes of it where it cannot be."""

import json
import os
import stat
import threading
import time

import pytest
from django.db import connection, transaction

from agents.models import Event, NodesFile
from agents.models.instance import Connectivity
from agents.services import nodes_file
from agents.services.nodes_file import (
    Outcome,
    keep_nodes_file,
    leave_nodes_file,
    nodes_file_changed,
    write_nodes_file,
)
from controlplane.common.files import file_lock
from tests.e2e.harness.waiting import eventually
from tests.integration.agents.listed import make_node

FACTS = {"user": "u1", "ip": "10.0.0.1", "hostname": "h1"}


@pytest.fixture
def path(settings, tmp_path):
    settings.METRIC_NODES_JSON_PATH = tmp_path / "nodes.json"
    return settings.METRIC_NODES_JSON_PATH


@pytest.fixture
def kept(transactional_db, path, settings):
    """The thread of this process, with an interval that no test waits for."""
    settings.SCHEDULER_INTERVAL_SECONDS = 600
    assert keep_nodes_file(wait_s=30)
    yield path
    leave_nodes_file(wait_s=30)


def kinds():
    return list(Event.objects.order_by("id").values_list("kind", flat=True))


@pytest.mark.django_db
def test_file_is_an_empty_array_where_no_node_is_online(path):
    make_node(1, connectivity=Connectivity.OFFLINE, facts=FACTS)
    make_node(2, connectivity=Connectivity.NEVER_REPORTED, facts=FACTS)
    make_node(3, archived=True, facts=FACTS)

    assert write_nodes_file() is Outcome.WRITTEN
    assert path.read_text() == "[]"


@pytest.mark.django_db
def test_file_has_online_nodes_by_the_number_of_their_ids(path):
    make_node(10, facts={"user": None, "hostname": "true", "ip": 7, "more": {"x": 1}})
    make_node(9, facts=FACTS, labels=["gpu", "team=支付"])
    make_node(11)

    write_nodes_file()

    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"node_id": "A9", "user_id": "u1", "ip": "10.0.0.1", "hostname": "h1", "labels": ["gpu", "team=支付"]},
        {"node_id": "A10", "user_id": "", "ip": "7", "hostname": "true", "labels": []},
        {"node_id": "A11", "user_id": "", "ip": "", "hostname": "", "labels": []},
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 3])
def test_file_takes_the_same_number_of_queries_for_any_fleet(path, count, django_assert_num_queries):
    write_nodes_file()
    for number in range(count):
        make_node(number)

    # The row, all nodes, twice the row; on PostgreSQL the savepoint's two, and how long to wait.
    with django_assert_num_queries(7 if connection.vendor == "postgresql" else 4):
        write_nodes_file()


@pytest.mark.django_db
def test_unchanged_file_is_not_touched(path):
    make_node(1, facts=FACTS)
    write_nodes_file()
    before = path.stat()

    assert write_nodes_file() is Outcome.UNCHANGED

    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.django_db
@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("[{}]")])
def test_file_that_was_deleted_or_edited_comes_back(path, spoil):
    make_node(1, facts=FACTS)
    write_nodes_file()
    written = path.read_bytes()
    spoil(path)

    assert write_nodes_file() is Outcome.WRITTEN
    assert path.read_bytes() == written


@pytest.mark.django_db
def test_file_is_readable_by_others_whatever_the_umask(path):
    before = os.umask(0o077)
    try:
        write_nodes_file()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.django_db
def test_folder_that_is_missing_is_made(path, settings):
    settings.METRIC_NODES_JSON_PATH = path.parent / "a" / "b" / "nodes.json"

    write_nodes_file()

    assert (path.parent / "a" / "b" / "nodes.json").read_text() == "[]"


@pytest.mark.django_db
def test_link_stays_a_link(path):
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere" / "nodes.json")

    write_nodes_file()

    assert path.is_symlink()
    assert (path.parent / "elsewhere" / "nodes.json").read_text() == "[]"


@pytest.mark.django_db
def test_leftovers_of_killed_writers_are_taken_away_and_nothing_else(path):
    write_nodes_file()
    mine, others = path.parent / ".nodes.json.x1.tmp", path.parent / ".other.json.x1.tmp"
    mine.write_text("[")
    others.write_text("[")

    assert write_nodes_file() is Outcome.UNCHANGED

    assert not mine.exists()
    assert others.exists()


@pytest.mark.django_db
def test_half_of_a_surrogate_pair_spoils_its_own_label_only(path):
    text = nodes_file.nodes_json([nodes_file.ListedNode("A1", "u", "i", "h", ["\ud800", "b"])])

    assert json.loads(text)[0]["labels"] == ["?", "b"]


@pytest.mark.django_db
@pytest.mark.parametrize("obstacle", ["a file for a folder", "a folder for the file"])
def test_path_that_cannot_be_written_is_told_once_and_recovers(path, settings, obstacle):
    if obstacle == "a file for a folder":
        path.parent.joinpath("folder").write_text("")
        settings.METRIC_NODES_JSON_PATH = path = path.parent / "folder" / "nodes.json"
        reason, blocking = "Not a directory", path.parent
    else:
        path.mkdir()
        reason, blocking = "Is a directory", path

    assert [write_nodes_file() for _ in range(3)] == [Outcome.FAILED] * 3

    row = NodesFile.objects.get()
    failed = Event.objects.get()
    assert (failed.kind, failed.level) == ("nodes_file.failed", "error")
    assert failed.message.startswith(str(path))
    assert failed.message == row.error
    assert reason in row.error
    assert row.failing_since is not None
    assert row.written_at is None

    blocking.rmdir() if blocking.is_dir() else blocking.unlink()
    assert [write_nodes_file() for _ in range(2)] == [Outcome.WRITTEN, Outcome.UNCHANGED]

    row.refresh_from_db()
    assert kinds() == ["nodes_file.failed", "nodes_file.recovered"]
    assert (row.failing_since, row.failed_at, row.failed_by, row.error) == (None, None, "", "")
    assert list(path.parent.glob(".*")) == []


@pytest.mark.django_db
def test_another_writer_that_can_write_does_not_end_the_failure(path, settings, monkeypatch):
    settings.METRIC_NODES_JSON_PATH = path / "no" / "folder"
    path.write_text("")
    monkeypatch.setattr(nodes_file, "_writer_name", lambda: "one host, user 1")
    write_nodes_file()
    settings.METRIC_NODES_JSON_PATH = path
    monkeypatch.setattr(nodes_file, "_writer_name", lambda: "another host, user 1")

    write_nodes_file()
    assert kinds() == ["nodes_file.failed"]
    assert NodesFile.objects.get().failed_by == "one host, user 1"

    # It has not tried again for long: perhaps it is gone.
    settings.SCHEDULER_INTERVAL_SECONDS = 0
    write_nodes_file()
    assert kinds() == ["nodes_file.failed", "nodes_file.recovered"]


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_writer_that_hangs_does_not_hold_up_the_others(path, monkeypatch):
    write_nodes_file()
    monkeypatch.setattr(nodes_file, "_LOCK_WAIT_MS", 50)
    held, done = threading.Event(), threading.Event()

    def hang():
        with transaction.atomic():
            NodesFile.objects.select_for_update().get()
            held.set()
            done.wait(30)
        connection.close()

    other = threading.Thread(target=hang)
    other.start()
    held.wait(30)

    assert write_nodes_file() is Outcome.BUSY

    done.set()
    other.join()
    assert write_nodes_file() is Outcome.UNCHANGED


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has locks of rows")
@pytest.mark.django_db(transaction=True)
def test_slow_file_system_does_not_hold_the_whole_database(path, settings, monkeypatch):
    in_transaction = []
    stage = nodes_file.stage_file

    def slow(*args, **named):
        in_transaction.append(connection.in_atomic_block)
        return stage(*args, **named)

    monkeypatch.setattr(nodes_file, "stage_file", slow)
    assert write_nodes_file() is Outcome.WRITTEN
    assert in_transaction == [False]

    monkeypatch.setattr(nodes_file, "_LOCK_WAIT_MS", 50)
    with file_lock(settings.DATA_DIR / "nodes-file.lock", wait_s=0) as is_held:
        assert is_held
        assert write_nodes_file() is Outcome.BUSY
    assert write_nodes_file() is Outcome.UNCHANGED


def test_file_is_there_when_keeping_it_has_begun(kept):
    assert kept.read_text() == "[]"


def test_change_is_written_soon_and_once_for_a_burst(kept, monkeypatch):
    writes = []
    write = nodes_file.write_nodes_file
    monkeypatch.setattr(nodes_file, "write_nodes_file", lambda: writes.append(write()))
    began = time.monotonic()

    for number in range(1, 31):
        with transaction.atomic():
            make_node(number, facts=FACTS)
            nodes_file_changed()

    eventually(lambda: len(json.loads(kept.read_text())) == 30, "all are in the file", timeout_s=10, every_s=0.01)
    assert len(writes) <= 1 + (time.monotonic() - began) / nodes_file._BURST_S


def test_change_that_is_rolled_back_wakes_nobody(kept):
    nodes_file._changed.clear()

    with transaction.atomic():
        nodes_file_changed()
        transaction.set_rollback(True)

    assert not nodes_file._changed.is_set()


def test_lost_wake_up_costs_one_interval(transactional_db, path, settings):
    settings.SCHEDULER_INTERVAL_SECONDS = 0.2
    keep_nodes_file(wait_s=30)
    try:
        make_node(1)

        eventually(lambda: len(json.loads(path.read_text())) == 1, "it is in the file", timeout_s=10)
    finally:
        leave_nodes_file(wait_s=30)


def test_file_is_kept_until_the_last_part_leaves(kept):
    keep_nodes_file(wait_s=0)

    leave_nodes_file(wait_s=0)
    with transaction.atomic():
        make_node(1)
        nodes_file_changed()

    eventually(lambda: len(json.loads(kept.read_text())) == 1, "it is in the file", timeout_s=10)


def test_database_that_is_away_is_outlived(kept, monkeypatch):
    """Whatever a round raises, the next one comes."""
    write = nodes_file.write_nodes_file
    raised = threading.Event()

    def fail():
        raised.set()
        monkeypatch.setattr(nodes_file, "write_nodes_file", write)
        raise RuntimeError("away")

    monkeypatch.setattr(nodes_file, "write_nodes_file", fail)
    nodes_file_changed()
    assert raised.wait(10)

    make_node(1)
    nodes_file_changed()

    eventually(lambda: len(json.loads(kept.read_text())) == 1, "it is in the file", timeout_s=10)
