"""Indexes of tables that are split by week: built beside writers, whatever is made meanwhile, and after any break."""

import pytest
from django.db import OperationalError, connection
from django.db.migrations import AddIndex
from django.db.migrations.loader import MigrationLoader
from django.db.models import Index
from django.test.utils import CaptureQueriesContext

from agents.models import Command, Event, FanOutTarget, Session
from controlplane.common import database, operations, partitions
from controlplane.common.indexes import AddIndexBesideWriters
from controlplane.common.operations import IndexPartitions, ReplaceIndexByPartition
from controlplane.common.partitions import WEEK, make_partition, weeks_made

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db(transaction=True)]

EVENTS = Event._meta.db_table
NAME = "event_probe"
FIRST, SECOND = " (received_at)", " (received_at, id)"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """The server's own vacuum holds tables now and then; what is made in committed transactions is taken back."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 60_000)
    before = weeks_made(EVENTS)
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}, {NAME}_new, {NAME}_old")
    for partition in partitions.partitions(EVENTS):
        if not partition.is_default and partition.starts_at not in before:
            partitions.drop_partition(EVENTS, partition)


def make_next_week():
    make_partition(EVENTS, "occurred_at", max(weeks_made(EVENTS)) + WEEK)


def run(operation, direction="forwards"):
    state = MigrationLoader(connection).project_state()
    with connection.schema_editor(atomic=False) as editor:
        getattr(operation, f"database_{direction}")("agents", editor, state, state)


@pytest.fixture
def breaks():
    """Let a build end as a killed process does, just before the first statement that holds this text."""

    def broken_at(operation, text):
        class Killed(Exception):
            pass

        def die(execute, sql, params, many, context):
            if text in sql:
                raise Killed
            return execute(sql, params, many, context)

        with connection.execute_wrapper(die), pytest.raises(Killed):
            run(operation)

    return broken_at


def indexes():
    """Of the whole table, by name: its definition, whether it is valid, and how many partitions have theirs in it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, substring(pg_get_indexdef(c.oid) FROM 'btree (.*)'), i.indisvalid, "
            "(SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) "
            "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = %s::regclass AND c.relname LIKE 'event_probe%%' ORDER BY 1",
            [EVENTS],
        )
        return cursor.fetchall()


def of_all(definition):
    return [(NAME, definition.strip(), True, len(partitions.partitions(EVENTS)))]


def test_an_index_that_is_built_again_after_a_break_takes_in_the_weeks_made_since(breaks):
    operation = IndexPartitions("Event", NAME, FIRST.strip())
    breaks(operation, "ATTACH PARTITION")
    make_next_week()

    run(operation)

    assert indexes() == of_all(FIRST)


def test_a_week_that_is_made_while_an_index_is_built_has_it(monkeypatch):
    operation = IndexPartitions("Event", NAME, FIRST.strip())
    listed = operations._Editor.partitions

    def listed_late(self, table):
        make_next_week()
        return listed(self, table)

    monkeypatch.setattr(operations._Editor, "partitions", listed_late)

    run(operation)

    assert indexes() == of_all(FIRST)


@pytest.mark.parametrize("text", ["CREATE INDEX CONCURRENTLY", "ATTACH", "DROP INDEX", "RENAME"])
def test_an_index_is_replaced_however_often_that_breaks_off(breaks, text):
    run(IndexPartitions("Event", NAME, FIRST.strip()))
    operation = ReplaceIndexByPartition("Event", NAME, now=SECOND, before=FIRST)
    breaks(operation, text)

    run(operation)

    assert indexes() == of_all(SECOND)


def test_an_index_that_was_replaced_is_the_same_after_another_run():
    run(IndexPartitions("Event", NAME, FIRST.strip()))
    operation = ReplaceIndexByPartition("Event", NAME, now=SECOND, before=FIRST)
    run(operation)

    run(operation)

    assert indexes() == of_all(SECOND)


def test_an_index_is_replaced_back_and_forth():
    run(IndexPartitions("Event", NAME, FIRST.strip()))
    operation = ReplaceIndexByPartition("Event", NAME, now=SECOND, before=FIRST)

    run(operation)
    run(operation, "backwards")
    assert indexes() == of_all(FIRST)
    run(operation)

    assert indexes() == of_all(SECOND)


def test_nobody_waits_for_long_behind_a_change_of_a_table_in_use(monkeypatch):
    run(IndexPartitions("Event", NAME, FIRST.strip()))
    for name, value in {"LOCK_WAIT_MS": 20, "LOCK_ATTEMPTS": 3, "LOCK_PAUSE_S": 0}.items():
        monkeypatch.setattr(database, name, value)
    reader, tried = connection.copy(), []

    def note(execute, sql, params, many, context):
        tried.append(sql)
        return execute(sql, params, many, context)

    with reader.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM {EVENTS}")
        with connection.execute_wrapper(note), pytest.raises(OperationalError, match="lock timeout"):
            run(IndexPartitions("Event", NAME, FIRST.strip()), "backwards")
    reader.close()
    assert sum(sql.startswith("DROP INDEX") for sql in tried) == 3

    run(IndexPartitions("Event", NAME, FIRST.strip()), "backwards")

    assert indexes() == []


def is_valid(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name])
        return cursor.fetchone()


def test_an_index_of_a_plain_table_is_built_beside_writers_and_after_any_break():
    operation = AddIndexBesideWriters("session", Index(fields=["token", "-id"], name=NAME))
    with CaptureQueriesContext(connection) as statements:
        run(operation)
    assert any("CREATE INDEX CONCURRENTLY" in each["sql"] for each in statements)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [NAME])
    run(operation)
    assert is_valid(NAME) == (True,)
    with CaptureQueriesContext(connection) as statements:
        run(operation)
    assert not any("CREATE INDEX" in each["sql"] for each in statements)

    run(operation, "backwards")
    assert is_valid(NAME) is None


def test_migrations_of_large_tables_hold_up_no_writer():
    """What was released before stays as it is; from here on an index of these is built beside them."""
    large = {each._meta.model_name for each in (Command, Event, FanOutTarget, Session)}
    loader = MigrationLoader(connection)
    found = [
        (name, operation.model_name)
        for (app, name), migration in loader.disk_migrations.items()
        if app == "agents" and name >= "0038"
        for operation in migration.operations
        if type(operation) is AddIndex and operation.model_name in large
    ]
    assert found == []
