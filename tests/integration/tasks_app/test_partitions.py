"""Weekly partitions on PostgreSQL: made ahead, dropped when past, converted without loss, and cheap however many."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps as django_apps
from django.db import connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.gateways.onestep import protocol
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import parse_envelope
from agents.models import ClockCorrection, Event
from agents.selectors.events import notable_events, task_events
from agents.services import clocks
from controlplane.common import partitions
from controlplane.common.partitions import WEEK, PartitionBusy, make_partition, weeks_made
from tasks_app.models import CustomMetric, MetricWindow
from tasks_app.selectors.figures import events_by_task, metric_points, windows_by_task
from tasks_app.selectors.lookback import Lookback
from tasks_app.selectors.windows import metric_windows
from tasks_app.services.ingest import store_reports
from tasks_app.services.storage import apply_retention, histories, make_partitions
from tests import frames
from tests.factories import (
    CommandFactory,
    CustomMetricFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    SessionFactory,
)
from tests.frames import Agent

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db]

EVENTS = Event._meta.db_table
TABLES = [EVENTS, MetricWindow._meta.db_table, CustomMetric._meta.db_table]
TABLES_SORTED = sorted(TABLES)
# A Wednesday far from the weeks that the migrations made.
NOW = datetime(2031, 7, 9, 15, 30, tzinfo=UTC)
MONDAY = datetime(2031, 7, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The server's own vacuum holds tables now and then, and lets go after a second."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 60_000)


def place_of(row):
    """The partition that holds the row."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {row._meta.db_table} WHERE id = %s", [row.pk])
        return cursor.fetchone()[0]


# --- made ahead


@pytest.mark.parametrize(
    ("moment", "week"),
    [
        (datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        (datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC)),
        (datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC)),
    ],
)
def test_weeks_begin_on_monday_in_utc(moment, week):
    assert partitions.week_of(moment) == week


def test_this_week_and_those_ahead_are_made_once(settings):
    settings.PARTITIONS_AHEAD_WEEKS = 2
    before = {table: weeks_made(table) for table in TABLES}

    assert make_partitions(NOW) == 9
    assert make_partitions(NOW) == 0

    for table in TABLES:
        assert weeks_made(table) - before[table] == {MONDAY, MONDAY + WEEK, MONDAY + 2 * WEEK}


def test_the_migrations_leave_a_default_and_two_weeks_for_each_table():
    for table in TABLES:
        found = partitions.partitions(table)
        assert (found[0].name, found[0].is_default) == (f"{table}_default", True)
        assert len(found) >= 3
        assert all(each.ends_at - each.starts_at == WEEK for each in found[1:])


def test_rows_outside_all_weeks_are_stored_and_move_when_their_week_is_made():
    row, other = EventFactory(occurred_at=NOW), EventFactory(occurred_at=NOW + 10 * WEEK)
    assert (place_of(row), place_of(other)) == (f"{EVENTS}_default", f"{EVENTS}_default")

    make_partitions(NOW)

    assert (place_of(row), place_of(other)) == (f"{EVENTS}_w20310707", f"{EVENTS}_default")
    assert set(Event.objects.all()) == {row, other}


def test_late_rows_get_their_week_and_older_ones_than_are_kept_do_not():
    late = EventFactory(occurred_at=NOW - timedelta(days=20))
    instance = late.instance
    window = MetricWindowFactory(instance=instance, window_ended_at=NOW - timedelta(days=60))
    lying = EventFactory(instance=instance, occurred_at=datetime(1970, 1, 1, tzinfo=UTC))

    make_partitions(NOW)

    assert place_of(late) == f"{EVENTS}_w20310616"
    assert place_of(window) == "tasks_app_metricwindow_w20310505"
    assert place_of(lying) == f"{EVENTS}_default"


def test_a_new_partition_has_every_index_of_the_table():
    make_partition(EVENTS, "occurred_at", MONDAY)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.indrelid::regclass::text, count(*) FROM pg_index i "
            "WHERE i.indrelid IN (%s::regclass, %s::regclass) AND i.indisvalid GROUP BY 1",
            [EVENTS, f"{EVENTS}_w20310707"],
        )
        counts = dict(cursor.fetchall())
    assert counts[EVENTS] == counts[f"{EVENTS}_w20310707"] == 15


def test_a_row_keeps_its_transaction_when_its_week_is_made_and_new_ones_get_theirs():
    def transactions():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT txid::text, txid = pg_current_xact_id() FROM {EVENTS} ORDER BY id")
            return cursor.fetchall()

    row = EventFactory(occurred_at=NOW)
    before = transactions()

    make_partition(EVENTS, "occurred_at", MONDAY)
    EventFactory(instance=row.instance, occurred_at=NOW)

    assert transactions() == before * 2
    assert before[0][1] is True


def test_whether_anything_came_lately_for_a_past_week_is_read_off_an_index():
    make_partition(EVENTS, "occurred_at", MONDAY)

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN SELECT 1 FROM {EVENTS}_w20310707 WHERE received_at >= %s", [NOW])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Bitmap Index Scan on agents_event_w20310707_received_at_idx" in plan


def test_ids_go_on_in_new_partitions_and_a_row_is_found_by_its_id():
    first = EventFactory(occurred_at=NOW)
    make_partitions(NOW)

    second = EventFactory(occurred_at=NOW + WEEK)

    assert second.pk == first.pk + 1
    assert Event.objects.get(pk=second.pk) == second


# --- converted


def migration_states():
    """The conversions, for tables with the columns of today."""
    loader = MigrationLoader(connection)
    today = loader.project_state()
    names = {"agents": "0008_partition_events", "tasks_app": "0002_partition_metrics"}
    return [
        (app, operation, today)
        for app, name in names.items()
        for operation in loader.get_migration(app, name).operations
    ]


def convert(direction):
    """All conversions of the migrations, in the transaction of the test."""
    for app, operation, state in migration_states():
        with connection.schema_editor() as editor:
            getattr(operation, f"database_{direction}")(app, editor, state, state)


def stored():
    return [list(model.objects.order_by("pk").values()) for model in (Event, MetricWindow, CustomMetric)]


def test_tables_with_rows_are_converted_back_and_forth_without_loss():
    now = timezone.now()
    instance = InstanceFactory()
    for days in (-1, 0, 10, 80, 3000):
        EventFactory(instance=instance, occurred_at=now - timedelta(days=days), meta={"days": days})
        MetricWindowFactory(instance=instance, window_ended_at=now - timedelta(days=days))
        CustomMetricFactory(instance=instance, window_ended_at=now - timedelta(days=days), labels={"a": "b"})
    before = stored()
    highest = Event.objects.latest("pk").pk

    convert("backwards")
    assert partitions.partitioned_tables() == []
    assert stored() == before
    assert EventFactory(instance=instance, event_id="plain").pk == highest + 1
    Event.objects.filter(event_id="plain").delete()

    convert("forwards")
    assert partitions.partitioned_tables() == TABLES_SORTED
    assert stored() == before
    assert EventFactory(instance=instance).pk == highest + 2
    this_week = partitions.week_of(now)
    with_rows = {partitions.week_of(now - timedelta(days=days)) for days in (-1, 0, 10, 80)}
    assert weeks_made(EVENTS) == {this_week, this_week + WEEK} | with_rows
    assert place_of(Event.objects.earliest("occurred_at")) == f"{EVENTS}_default"


def test_of_events_that_the_plain_table_takes_one_of_the_oldest_row_is_kept():
    first = EventFactory(event_id="twice", occurred_at=NOW)
    EventFactory(instance=first.instance, event_id="twice", occurred_at=NOW - timedelta(days=1))

    convert("backwards")

    assert list(Event.objects.filter(event_id="twice")) == [first]


def test_the_plain_table_is_as_the_first_migration_made_it():
    convert("backwards")

    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, EVENTS)
    unique = [each["columns"] for each in found.values() if each["unique"] and not each["primary_key"]]
    assert unique == [["event_id"]]
    assert {index.name for index in Event._meta.indexes} <= set(found)


def test_events_that_are_there_already_have_no_transaction_and_the_column_goes_as_it_came():
    loader = MigrationLoader(connection)
    state = loader.project_state(("agents", "0027_event_transaction"))
    (operation,) = loader.get_migration("agents", "0027_event_transaction").operations

    def apply(direction):
        with connection.schema_editor() as editor:
            getattr(operation, f"database_{direction}")("agents", editor, state, state)

    apply("backwards")
    old = EventFactory(occurred_at=NOW)
    apply("forwards")
    new = EventFactory(instance=old.instance, occurred_at=NOW)

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, txid IS NULL FROM {EVENTS} ORDER BY id")
        assert cursor.fetchall() == [(old.pk, True), (new.pk, False)]


# --- dropped when past


@pytest.mark.parametrize(("early", "left"), [(timedelta(0), 0), (timedelta(microseconds=1), 1)])
def test_a_week_is_dropped_when_its_last_moment_is_past(early, left):
    last = EventFactory(occurred_at=MONDAY + WEEK - timedelta(microseconds=1))
    make_partition(EVENTS, "occurred_at", MONDAY)

    assert apply_retention(MONDAY + WEEK + timedelta(days=30) - early)

    assert Event.objects.filter(pk=last.pk).count() == left
    assert (MONDAY in weeks_made(EVENTS)) == bool(left)


def test_past_rows_of_a_week_that_is_not_past_stay():
    first = EventFactory(occurred_at=MONDAY)
    make_partition(EVENTS, "occurred_at", MONDAY)

    apply_retention(MONDAY + timedelta(days=36))

    assert list(Event.objects.all()) == [first]


def test_a_past_week_stays_until_what_came_late_for_it_has_had_its_days():
    EventFactory(occurred_at=MONDAY, received_at=MONDAY + timedelta(days=20))
    make_partition(EVENTS, "occurred_at", MONDAY)

    assert apply_retention(MONDAY + timedelta(days=50))
    assert Event.objects.count() == 1

    assert apply_retention(MONDAY + timedelta(days=50, microseconds=1))
    assert MONDAY not in weeks_made(EVENTS)
    assert Event.objects.count() == 0


def test_metrics_are_dropped_by_days_of_their_own():
    window = MetricWindowFactory(window_ended_at=MONDAY)
    sample = CustomMetricFactory(instance=window.instance, window_ended_at=MONDAY)
    event = EventFactory(instance=window.instance, occurred_at=MONDAY)
    for history in histories():
        make_partition(history.table, history.column, MONDAY)

    apply_retention(MONDAY + timedelta(days=50))
    assert (MetricWindow.objects.count(), CustomMetric.objects.count(), Event.objects.count()) == (1, 1, 0)

    apply_retention(MONDAY + timedelta(days=97))
    assert (MetricWindow.objects.count(), CustomMetric.objects.count()) == (0, 0)
    assert {window.pk, sample.pk, event.pk}


def test_the_default_partition_is_never_dropped():
    (default, *_weeks) = partitions.partitions(EVENTS)

    with pytest.raises(ValueError, match="DEFAULT"):
        partitions.drop_partition(EVENTS, default)


# --- beside others


@pytest.fixture
def weeks_are_restored(transactional_db):
    """What is made and dropped in committed transactions would be so for the tests after."""
    before = {history.table: weeks_made(history.table) for history in histories()}
    yield
    for history in histories():
        for partition in partitions.partitions(history.table):
            if not partition.is_default and partition.starts_at not in before[history.table]:
                partitions.drop_partition(history.table, partition)
        for week in before[history.table]:
            make_partition(history.table, history.column, week)


@contextmanager
def another_session():
    """A cursor in a transaction of its own, which is rolled back."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.rollback()
        other.close()


def in_threads(count, work):
    barrier, errors, results = threading.Barrier(count), [], []

    def run():
        try:
            barrier.wait()
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return results


@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_make_and_drop_each_week_once(weeks_are_restored):
    EventFactory(occurred_at=NOW)

    made = in_threads(4, lambda: make_partitions(NOW))
    # A worker that met another one left the table to it; the next run finds what is missing, if anything is.
    made.append(make_partitions(NOW))

    assert sum(made) == 5 * len(TABLES)
    assert Event.objects.count() == 1

    in_threads(4, lambda: apply_retention(NOW + timedelta(days=200)))
    apply_retention(NOW + timedelta(days=200))
    assert [weeks_made(table) for table in TABLES] == [set()] * len(TABLES)
    assert Event.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_writer_under_way_does_not_hold_a_new_week_up(weeks_are_restored):
    row = EventFactory(occurred_at=timezone.now())
    with another_session() as cursor:
        cursor.execute(f"DELETE FROM {EVENTS} WHERE id = %s AND occurred_at = %s", [row.pk, row.occurred_at])

        assert make_partition(EVENTS, "occurred_at", MONDAY)


@pytest.mark.django_db(transaction=True)
def test_a_busy_table_is_left_to_the_next_run(weeks_are_restored, monkeypatch):
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 50)
    with another_session() as cursor:
        cursor.execute(f"SELECT count(*) FROM {EVENTS}")
        make_partitions(NOW)
    assert MONDAY not in weeks_made(EVENTS)

    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 60_000)
    make_partitions(NOW)

    assert all(MONDAY in weeks_made(table) for table in TABLES)


LATE = MONDAY + timedelta(days=40)


def store_late_row():
    """A row of a week that is past, which comes only now; committed where it is called outside a transaction."""
    try:
        EventFactory(occurred_at=MONDAY, received_at=LATE)
    finally:
        connections.close_all()


def drop_past_week():
    (week,) = [partition for partition in partitions.partitions(EVENTS) if partition.starts_at == MONDAY]
    return partitions.drop_partition(EVENTS, week, unless=("received_at", LATE - timedelta(days=30)))


def wait_for_a_waiter(partition):
    """Until some session waits for a lock on it."""
    until = time.monotonic() + 10
    with another_session() as cursor:
        while time.monotonic() < until:
            cursor.execute("SELECT FROM pg_locks WHERE relation = %s::regclass AND NOT granted", [partition])
            if cursor.fetchone() is not None:
                return
    raise AssertionError(f"Nobody waits for {partition}.")


@pytest.mark.django_db(transaction=True)
def test_a_past_week_stays_for_a_row_that_is_being_stored(weeks_are_restored):
    make_partition(EVENTS, "occurred_at", MONDAY)
    is_stored = threading.Event()

    def store_slowly():
        with transaction.atomic():
            EventFactory(occurred_at=MONDAY, received_at=LATE)
            is_stored.set()
            wait_for_a_waiter(partitions.partition_name(EVENTS, MONDAY))
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(store_slowly)
        assert is_stored.wait(30)
        assert not drop_past_week()
        writer.result()

    assert MONDAY in weeks_made(EVENTS)
    assert Event.objects.get().received_at == LATE


@pytest.mark.django_db(transaction=True)
def test_a_past_week_stays_for_a_row_that_comes_after_the_first_look(weeks_are_restored, monkeypatch):
    make_partition(EVENTS, "occurred_at", MONDAY)
    look, looks = partitions._has_since, []

    with ThreadPoolExecutor(1) as pool:

        def look_and_let_write(*args):
            looks.append(look(*args))
            if len(looks) == 1:
                pool.submit(store_late_row).result(30)
            return looks[-1]

        monkeypatch.setattr(partitions, "_has_since", look_and_let_write)
        assert not drop_past_week()

    assert looks == [False, True]
    assert Event.objects.get().received_at == LATE


@pytest.mark.django_db(transaction=True)
def test_a_past_week_stays_for_a_row_that_waits_for_the_last_look(weeks_are_restored, monkeypatch):
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 300)
    make_partition(EVENTS, "occurred_at", MONDAY)
    look, looks, writers = partitions._has_since, [], []

    with ThreadPoolExecutor(1) as pool:

        def look_while_somebody_waits(partition, *unless):
            looks.append(look(partition, *unless))
            if len(looks) == 2:
                writers.append(pool.submit(store_late_row))
                wait_for_a_waiter(partition.name)
            return looks[-1]

        monkeypatch.setattr(partitions, "_has_since", look_while_somebody_waits)
        with pytest.raises(PartitionBusy):
            drop_past_week()

        writers[0].result(30)

    assert looks == [False, False]
    assert Event.objects.get().received_at == LATE


@pytest.mark.django_db(transaction=True)
def test_a_past_week_that_is_read_is_dropped_by_the_next_run(weeks_are_restored, monkeypatch):
    make_partition(EVENTS, "occurred_at", MONDAY)
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 50)
    with another_session() as cursor:
        cursor.execute(f"SELECT count(*) FROM {EVENTS}")
        assert not apply_retention(MONDAY + timedelta(days=40))
    assert MONDAY in weeks_made(EVENTS)

    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 60_000)

    assert apply_retention(MONDAY + timedelta(days=40))
    assert MONDAY not in weeks_made(EVENTS)


# --- nothing twice


@pytest.fixture
def agent():
    instance = InstanceFactory(online=True)
    agent = Agent(instance_id=str(instance.pk), name=instance.service.name, environment=instance.service.environment)
    agent.session = SessionFactory(instance=instance)
    return agent


def store(agent, frame, received_at):
    context = SessionContext(
        session_id=agent.session.pk,
        instance_id=agent.session.instance_id,
        service_id=agent.session.instance.service_id,
        service_name=agent.name,
        environment=agent.environment,
    )
    payload = parse_envelope(frames.text(frame)).payload
    store_reports(protocol.parse_telemetry(payload, context, received_at).reports)


# How far the agent's clock is ahead, and when the same frame comes again.
AHEAD_AND_AGAIN = [
    (timedelta(0), timedelta(days=9)),
    (timedelta(hours=2), timedelta(seconds=10)),
    (timedelta(hours=2), timedelta(hours=3)),
    (timedelta(days=400), timedelta(days=9)),
]


@pytest.mark.parametrize(("ahead", "again"), AHEAD_AND_AGAIN)
def test_an_event_that_comes_again_is_stored_once_whatever_the_clock(agent, ahead, again):
    frame = agent.events(frames.event(event_id="e-1", occurred_at=(NOW + ahead).isoformat()))

    for received_at in (NOW, NOW + again, NOW + 2 * again):
        store(agent, frame, received_at)

    (event,) = Event.objects.filter(kind__startswith="task.")
    assert event.occurred_at == NOW + min(ahead, timedelta(hours=1))


@pytest.mark.parametrize(("ahead", "again"), AHEAD_AND_AGAIN)
def test_windows_and_samples_that_come_again_are_stored_once_whatever_the_clock(agent, ahead, again):
    ended_at = (NOW + ahead).isoformat()
    frame = agent.metrics(
        frames.window(custom_metrics=[{"name": "rows", "kind": "counter", "value": 1, "labels": {}}]),
        window={"started_at": ended_at, "ended_at": ended_at},
    )

    for received_at in (NOW, NOW + again, NOW + 2 * again):
        store(agent, frame, received_at)

    ends = [*MetricWindow.objects.values_list("window_ended_at"), *CustomMetric.objects.values_list("window_ended_at")]
    assert ends == [(NOW + min(ahead, timedelta(hours=1)),)] * 2


def corrections_asked(captured):
    """The statements that are about corrections of clocks."""
    return [query["sql"] for query in captured if "clockcorrection" in query["sql"]]


def test_clocks_that_are_right_cost_one_probe(agent):
    frame = agent.events(*(frames.event(event_id=f"e-{number}", occurred_at=NOW.isoformat()) for number in range(5)))

    with CaptureQueriesContext(connection) as captured:
        store(agent, frame, NOW)

    assert len(corrections_asked(captured)) == 1
    assert not ClockCorrection.objects.exists()


def test_clocks_that_are_right_cost_one_probe_also_where_others_run_ahead(agent):
    fast = [NOW + timedelta(hours=2, seconds=number) for number in range(3)]
    store(agent, agent.events(*(frames.event(event_id=f"f-{at}", occurred_at=at.isoformat()) for at in fast)), NOW)
    later = NOW + timedelta(hours=2)
    right = agent.events(frames.event(event_id="e-1", occurred_at=(later - timedelta(seconds=1)).isoformat()))

    with CaptureQueriesContext(connection) as captured:
        store(agent, right, later)

    assert len(corrections_asked(captured)) == 1
    assert ClockCorrection.objects.count() == 3


@pytest.mark.parametrize("neighbours_max", [500, 1])
def test_only_records_of_a_corrected_time_are_looked_up_by_name(agent, monkeypatch, neighbours_max):
    monkeypatch.setattr(clocks, "_NEIGHBOURS_MAX", neighbours_max)
    at = NOW + timedelta(hours=2)
    fast = [("fast", at), ("fast, in between", at - timedelta(seconds=30))]
    store(agent, agent.events(*(frames.event(event_id=name, occurred_at=then.isoformat()) for name, then in fast)), NOW)
    mixed = [("fast", at), ("of the same moment", at), ("other", at - timedelta(minutes=1))]
    frame = agent.events(*(frames.event(event_id=name, occurred_at=moment.isoformat()) for name, moment in mixed))

    with CaptureQueriesContext(connection) as captured:
        store(agent, frame, at)

    looked_up = corrections_asked(captured)[-1]
    keys = [hashlib.sha256(f"event:{name}".encode()).hexdigest() for name, _moment in mixed]
    assert [key in looked_up for key in keys] == [True, True, False]
    assert set(Event.objects.filter(kind__startswith="task.").values_list("event_id", "occurred_at")) == {
        ("fast", NOW + timedelta(hours=1)),
        ("fast, in between", NOW + timedelta(hours=1)),
        ("of the same moment", at),
        ("other", at - timedelta(minutes=1)),
    }


def test_a_correction_from_before_reported_times_were_kept_still_counts(agent):
    at = NOW + timedelta(hours=2)
    frame = agent.events(frames.event(event_id="e-1", occurred_at=at.isoformat()))
    store(agent, frame, NOW)
    ClockCorrection.objects.update(reported_at=None)

    store(agent, frame, at)

    assert Event.objects.get(kind__startswith="task.").occurred_at == NOW + timedelta(hours=1)


# --- a year of empty partitions


@pytest.fixture
def a_year_ahead(settings):
    settings.PARTITIONS_AHEAD_WEEKS = 52
    make_partitions()


def partitions_in(text, table):
    return {word for word in text.replace('"', " ").split() if word.startswith((f"{table}_w", f"{table}_default"))}


def test_an_insert_opens_the_partition_that_it_fills_and_no_other():
    row = (
        "INSERT INTO agents_event (event_id, kind, level, occurred_at, received_at, task_name, actor, message, "
        "failure_kind, exception_type, traceback, meta) "
        "SELECT n::text, 'task.started', 'info', now(), now(), '', '', '', '', '', '', '{}' "
        "FROM generate_series(1, 3) n ON CONFLICT DO NOTHING"
    )
    with another_session() as cursor:
        cursor.execute(row)
        cursor.execute(
            "SELECT relation::regclass::text FROM pg_locks JOIN pg_class c ON c.oid = relation "
            "WHERE pid = pg_backend_pid() AND relkind = 'r' AND relname LIKE %s",
            [f"{EVENTS}%"],
        )
        locked = [name for (name,) in cursor.fetchall()]

    assert locked == [partitions.partition_name(EVENTS, partitions.week_of(timezone.now()))]


LISTS = {
    "all events": lambda service: task_events()[:50],
    "events of a service": lambda service: task_events(service=service)[:50],
    "notable events": lambda service: notable_events()[:15],
    "windows of a service": lambda service: metric_windows(service)[:50],
    "events by task": lambda service: events_by_task(service, Lookback(15, timezone.now())),
    "windows by task": lambda service: windows_by_task(service, Lookback(15, timezone.now())),
    "metric points": lambda service: metric_points(service, "sync", Lookback(15, timezone.now())),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_do_not_open_the_partitions_of_the_year_ahead(a_year_ahead, name):
    service = InstanceFactory(online=True).service
    with CaptureQueriesContext(connection) as captured:
        list(LISTS[name](service))
    (statement,) = (query["sql"] for query in captured if "SELECT" in query["sql"])

    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement.replace("%", "%%"))
        plan = "\n".join(line for (line,) in cursor.fetchall())

    opened = {table: partitions_in(plan, table) for table in TABLES}
    this_week = partitions.week_of(timezone.now())
    beyond = {partitions.partition_name(table, this_week + n * WEEK) for table in TABLES for n in range(2, 53)}
    assert any(opened.values()), plan
    assert not beyond & set().union(*opened.values())


@pytest.mark.parametrize("app", ["agents", "tasks_app"])
def test_rows_from_before_get_the_service_of_their_instance(app):
    instance = InstanceFactory()
    rows = {"agents": CommandFactory, "tasks_app": MetricWindowFactory}[app].create_batch(3, instance=instance)
    model, other = type(rows[0]), rows[2].service_id + 1
    model.objects.filter(pk__in=[row.pk for row in rows[:2]]).update(service=None)
    model.objects.filter(pk=rows[2].pk).update(service=other)
    name = {"agents": "0016_fill_command_service", "tasks_app": "0006_fill_metricwindow_service"}[app]
    (fill,) = MigrationLoader(connection).get_migration(app, name).operations

    fill.code(django_apps, None)

    services = dict(model.objects.values_list("pk", "service"))
    assert [services[row.pk] for row in rows] == [instance.service_id, instance.service_id, other]
