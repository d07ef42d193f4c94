"""The order of the stream: nothing comes up behind a reader, whatever writers do at the same time."""

import random
import threading

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Event
from agents.models.event import EventKind
from agents.selectors.stream import Position, read_stretch, stream_end
from agents.services.events import portal_event, record_events
from tests.factories import EventFactory, InstanceFactory

TABLE = Event._meta.db_table
WRITERS, ROUNDS = 6, 25


class Aborted(Exception):
    """A transaction that is rolled back on purpose."""


def write(seed, instance, committed, started):
    """Transactions of various sizes that are held open for various times; some are rolled back."""
    chance = random.Random(seed)
    pause = threading.Event()
    started.wait()
    try:
        for _ in range(ROUNDS):
            kinds = chance.choices([EventKind.COMMAND_QUEUED, EventKind.TASK_STARTED], k=chance.randrange(1, 4))
            events = [portal_event(kind, at=timezone.now(), instance=instance) for kind in kinds]
            try:
                with transaction.atomic():
                    record_events(events[:1])
                    # SQLite's writers wait for each other; they would do so for long.
                    pause.wait(chance.choice([0, 0, 0.002, 0.03 if connection.vendor == "postgresql" else 0]))
                    record_events(events[1:])
                    if chance.random() < 0.1:
                        raise Aborted
            except Aborted:
                continue
            committed += [event.event_id for event in events if event.kind == EventKind.COMMAND_QUEUED]
    finally:
        connections.close_all()


def follow(after, finished):
    """All that a reader is shown until it has looked once more after the writers have finished."""
    seen = []
    while True:
        is_last = finished.is_set()
        stretch = read_stretch(after, limit=7)
        seen += stretch.events
        assert stretch.end >= after
        after = stretch.end
        if is_last and stretch.is_whole:
            return seen


@pytest.mark.django_db(transaction=True)
def test_a_reader_sees_every_event_once_and_in_order_while_writers_overlap():
    instance = InstanceFactory()
    begin, committed, finished = stream_end().settled, [], threading.Event()
    started = threading.Barrier(WRITERS)
    writers = [
        threading.Thread(target=write, args=(seed, instance, committed, started), daemon=True)
        for seed in range(WRITERS)
    ]
    for writer in writers:
        writer.start()

    def wait_for_all():
        for writer in writers:
            writer.join()
        finished.set()

    waiting = threading.Thread(target=wait_for_all, daemon=True)
    waiting.start()
    seen = follow(begin, finished)
    waiting.join()

    assert sorted(event.event_id for event in seen) == sorted(committed)
    places = [event.position for event in seen]
    assert places == sorted(set(places))


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_an_event_is_withheld_until_the_transaction_that_began_before_it_ends():
    instance = InstanceFactory()
    begin = stream_end().settled
    first_wrote, second_committed = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic():
                EventFactory(kind="command.queued", instance=instance, event_id="first")
                first_wrote.set()
                second_committed.wait(30)
        finally:
            connections.close_all()

    holding = threading.Thread(target=hold, daemon=True)
    holding.start()
    first_wrote.wait(30)
    second = EventFactory(kind="command.queued", instance=instance, event_id="second")

    blind = read_stretch(begin, limit=10)
    second_committed.set()
    holding.join()
    after = read_stretch(blind.end, limit=10)

    assert (blind.events, blind.is_whole, blind.withheld.id) == ([], True, second.pk)
    assert [event.event_id for event in after.events] == ["first", "second"]
    assert after.withheld is None


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_another_database_holds_nothing_back():
    server = {
        key: connection.settings_dict[name] for key, name in (("host", "HOST"), ("port", "PORT"), ("user", "USER"))
    }
    with psycopg.connect(**server, password=connection.settings_dict["PASSWORD"] or None, dbname="postgres") as other:
        (held,) = other.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        begin = stream_end()
        made = EventFactory(kind="command.queued")
        stretch = read_stretch(begin.settled, limit=10)

    assert stretch.events[0].position.transaction > held
    assert [event.event_id for event in stretch.events] == [made.event_id]


@pytest.mark.django_db(transaction=True)
def test_a_stretch_is_bounded_and_the_next_goes_on_behind_it():
    begin = stream_end().settled
    instance = InstanceFactory()
    made = [EventFactory(kind="command.queued", instance=instance).event_id for _ in range(5)]

    first = read_stretch(begin, limit=3)
    second = read_stretch(first.end, limit=3)

    assert [event.event_id for event in first.events + second.events] == made
    assert (first.is_whole, second.is_whole) == (False, True)
    assert read_stretch(second.end, limit=3).events == []


@pytest.mark.django_db(transaction=True)
def test_a_position_ahead_of_the_database_is_lost():
    ahead = Position(stream_end().latest.transaction + 1000, 10**12)

    stretch = read_stretch(ahead, limit=3)

    assert (stretch.is_lost, stretch.events) == (True, [])


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 3])
def test_a_stretch_is_two_queries(count, django_assert_num_queries):
    for _ in range(count):
        EventFactory(kind="command.queued")

    with django_assert_num_queries(2):
        read_stretch(Position(0, 0), limit=10)


@pytest.mark.needs_postgres
@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 700])
def test_every_way_of_writing_records_the_transaction(count):
    """A few events go as a document, many by COPY; neither names the column."""
    record_events([portal_event(EventKind.COMMAND_QUEUED, at=timezone.now()) for _ in range(count)])

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE txid = pg_current_xact_id()")
        assert cursor.fetchone() == (count,)


@pytest.mark.needs_postgres
@pytest.mark.django_db
def test_a_stretch_is_read_off_its_index_in_every_partition_without_a_sort():
    with CaptureQueriesContext(connection) as asked:
        read_stretch(Position(700, 12), limit=10)

    with connection.cursor() as cursor:
        # Tables of a test are too small for an index to pay.
        for cheaper in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {cheaper} = off")
        cursor.execute(f"EXPLAIN {asked[1]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    scans = [line.strip() for line in plan.splitlines() if " Scan " in line and "agents_service" not in line]
    assert scans
    assert all("Index Scan using event_stream_" in scan or "_txid_id_idx" in scan for scan in scans)
    assert plan.count("Index Cond: (ROW(txid, id) > ROW(") == len(scans)
    assert "Sort  (" not in plan
