"""Statements of many rows on a real database."""

import threading
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.utils.timezone import now
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agents.models import Event, Instance
from controlplane.common import bulk, copying
from controlplane.common.batching import blames_data
from tasks_app.models import CustomMetric, CustomMetricTotals, TaskControls
from tests.factories import InstanceFactory

pytestmark = pytest.mark.django_db
NOW = now()


def update(rows, **options):
    return bulk.update_from_values(
        Instance,
        ("id", "node_name", "last_seen_at", "uptime_s"),
        rows,
        assignments="node_name = v.node_name, last_seen_at = v.last_seen_at, uptime_s = v.uptime_s",
        **options,
    )


def test_each_row_gets_its_own_values_of_every_type():
    first, second, other = InstanceFactory.create_batch(3)

    changed = update(
        [(first.pk, "a'; --", NOW, 1), (second.pk, "b", None, 2**40), (uuid.uuid4(), "no such row", NOW, 3)]
    )

    assert changed == 2
    rows = {row.pk: (row.node_name, row.last_seen_at, row.uptime_s) for row in Instance.objects.all()}
    assert rows == {
        first.pk: ("a'; --", NOW, 1),
        second.pk: ("b", None, 2**40),
        other.pk: (other.node_name, None, None),
    }


def test_the_first_row_may_hold_nothing_but_nulls():
    first, second = InstanceFactory.create_batch(2)

    assert update([(first.pk, "a", None, None), (second.pk, "b", NOW, 5)]) == 2


def test_the_condition_decides_row_by_row():
    old = InstanceFactory(last_seen_at=NOW - timedelta(days=1))
    new = InstanceFactory(last_seen_at=NOW + timedelta(days=1))

    changed = update([(old.pk, "x", NOW, 1), (new.pk, "x", NOW, 1)], condition="t.last_seen_at < v.last_seen_at")

    assert (changed, Instance.objects.get(node_name="x").pk) == (1, old.pk)


def test_more_rows_than_one_statement_holds(monkeypatch):
    monkeypatch.setattr(bulk, "_VARIABLES_MAX", 10)
    instances = InstanceFactory.create_batch(7)

    assert update([(instance.pk, "x", NOW, 1) for instance in instances]) == 7


def test_no_rows_need_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert update([]) == 0


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["update", "upsert"])
def test_callers_at_once_do_not_lock_each_other_out(way):
    ids = [instance.pk for instance in InstanceFactory.create_batch(40)]

    def change(order, number):
        if way == "update":
            update([(pk, f"n{number}", NOW, number) for pk in order])
        else:
            bulk.upsert(TaskControls, ("instance", "controls", "updated_at"), [(pk, [number], NOW) for pk in order])

    assert failures_at_once(change, ids) == []


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rows_min", [1, 1000], ids=["copy first", "insert"])
def test_callers_with_the_same_rows_at_once_do_not_lock_each_other_out(rows_min, monkeypatch):
    monkeypatch.setattr(copying, "ROWS_MIN", rows_min)
    monkeypatch.setattr(copying, "WARY_FOR_S", 0)
    instance = InstanceFactory()

    def change(order, number):
        new_samples(instance, *((f"{number} {window}", 0) for window in order))

    assert failures_at_once(change, range(200)) == []
    assert CustomMetric.objects.count() == 200 * ROUNDS


ROUNDS = 40


def failures_at_once(change, items):
    """What two threads run into that call `change` at the same time, again and again, one of them backwards."""
    barrier, failures = threading.Barrier(2), []

    def rounds(order):
        try:
            for number in range(ROUNDS):
                barrier.wait(30)
                with transaction.atomic():
                    change(order, number)
        except Exception as error:
            failures.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=rounds, args=(order,)) for order in (items, items[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


# --- inserts

# What reports may hold: clean text, finite numbers of 64 bit, aware times of the calendars that databases share.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("'\"\\%{}\n\u2028\U0001f600"),
    max_size=20,
)
BIGINTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001 -- the strategy adds the zone
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=3, minutes=30))]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
# Shrinking a failure takes minutes against a database.
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
EVENTS = st.fixed_dictionaries(
    {
        "kind": st.just("task.started"),
        "level": st.sampled_from(Event.Level),
        "occurred_at": TIMES,
        "received_at": TIMES,
        "service_id": st.none() | BIGINTS,
        "instance_id": st.none() | st.uuids(),
        "command_id": st.none() | st.uuids(),
        "task_name": TEXTS,
        "actor": TEXTS,
        "message": TEXTS,
        "attempts": st.none() | BIGINTS,
        "duration_ms": st.none() | BIGINTS,
        "failure_kind": TEXTS,
        "exception_type": TEXTS,
        "traceback": TEXTS,
        "meta": st.dictionaries(TEXTS, JSON, max_size=4),
    }
)
SAMPLES = st.fixed_dictionaries(
    {
        "instance_id": st.uuids(),
        "task_name": TEXTS,
        "window_ended_at": TIMES,
        "name": TEXTS,
        "kind": st.sampled_from(["counter", "gauge"]),
        "labels": st.dictionaries(TEXTS, TEXTS, max_size=3),
        "labels_hash": st.just(""),
        "value": FLOATS,
        "received_at": TIMES,
    }
)


@pytest.mark.parametrize(
    ("model", "key", "sent"),
    [(Event, "event_id", EVENTS), (CustomMetric, "window_id", SAMPLES)],
    ids=["event", "sample"],
)
@pytest.mark.parametrize("way", ["insert", pytest.param("copy", marks=pytest.mark.needs_postgres)])
def test_many_rows_at_once_are_stored_as_the_orm_stores_each(model, key, sent, way, monkeypatch):
    monkeypatch.setattr(copying, "ROWS_MIN", 1 if way == "copy" else 1000)

    @given(st.lists(sent, min_size=1, max_size=5))
    @EXAMPLES
    @transaction.atomic
    def check(rows):
        model.objects.all().delete()
        names = tuple(rows[0])
        for number, row in enumerate(rows):
            model(**{key: f"orm-{number}"}, **row).save(force_insert=True)

        bulk.insert_new(
            model,
            (key, *names),
            [(f"bulk-{number}", *(row[name] for name in names)) for number, row in enumerate(rows)],
        )

        stored = {row.pop(key): row for row in model.objects.values(key, *names)}
        for number, _row in enumerate(rows):
            assert stored[f"bulk-{number}"] == stored[f"orm-{number}"]

    check()


def insert_events(*changes, insert=bulk.insert_new):
    usual = {
        "event_id": "e1",
        "kind": "task.started",
        "level": "info",
        "occurred_at": NOW,
        "received_at": NOW,
        "task_name": "",
        "actor": "",
        "message": "",
        "failure_kind": "",
        "exception_type": "",
        "traceback": "",
        "meta": {},
        "attempts": 0,
    }
    insert(Event, tuple(usual), [tuple((usual | change).values()) for change in changes])


@pytest.fixture
def copying_all(monkeypatch):
    """COPY for any number of rows, with no memory of earlier duplicates."""
    monkeypatch.setattr(copying, "ROWS_MIN", 1)
    monkeypatch.setattr(copying, "_wary_until", {})


@contextmanager
def copies():
    """Collects, of what runs inside, the statements that are no SELECT, by their first word."""
    words = []

    def note(execute, sql, params, many, context):
        words.append(sql.split()[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield words


@pytest.mark.needs_postgres
@pytest.mark.parametrize("text", ["", "\\.", "a\n\\.\nb", "\\N", '"', ',"', "\r", "\r\n", " x ", "\\"])
def test_copy_takes_texts_that_mean_something_to_it(copying_all, text):
    with copies() as words:
        insert_events({"event_id": "1", "message": text, "meta": {"v": text}}, {"event_id": "2", "message": text})

    assert words == ["SAVEPOINT", "RELEASE"]
    assert list(Event.objects.order_by("event_id").values_list("message", "meta")) == [(text, {"v": text}), (text, {})]


@pytest.mark.needs_postgres
def test_where_copy_meets_a_double_the_rest_is_inserted_and_copy_rests(copying_all):
    insert_events({"event_id": "known", "message": "first"})

    with copies() as words:
        insert_events({"event_id": "new"}, {"event_id": "known", "message": "x"}, {"event_id": "last"})
        insert_events({"event_id": "later"})

    assert words == ["SAVEPOINT", "ROLLBACK", "RELEASE", "INSERT", "INSERT"]
    stored = {"known": "first", "new": "", "last": "", "later": ""}
    assert dict(Event.objects.values_list("event_id", "message")) == stored


@pytest.mark.needs_postgres
def test_copy_is_tried_again_after_a_while(copying_all, monkeypatch):
    insert_events({"event_id": "known"})
    insert_events({"event_id": "known"})
    monkeypatch.setattr(copying, "WARY_FOR_S", -1.0)
    monkeypatch.setattr(copying, "_wary_until", {})
    insert_events({"event_id": "known"})

    with copies() as words:
        insert_events({"event_id": "new"})

    assert words == ["SAVEPOINT", "RELEASE"]


@pytest.mark.needs_postgres
def test_few_rows_are_not_worth_a_copy():
    with copies() as words:
        insert_events({"event_id": "1"}, {"event_id": "2"})

    assert words == ["INSERT"]


def test_doubles_and_what_is_known_are_left_out():
    insert_events({"event_id": "known", "message": "first"})

    insert_events({"event_id": "known", "message": "x"}, {"event_id": "new"}, {"event_id": "new", "message": "x"})

    assert dict(Event.objects.values_list("event_id", "message")) == {"known": "first", "new": ""}


@pytest.mark.parametrize("rows_min", [1000, 1])
@pytest.mark.parametrize(
    "hostile",
    [
        {"message": "a\ud800"},
        {"attempts": 2**63},
        {"meta": {"v": object()}},
        pytest.param({"occurred_at": None}, marks=pytest.mark.needs_postgres),
        pytest.param({"message": "a\0b"}, marks=pytest.mark.needs_postgres),
        pytest.param({"meta": {"v": "\0"}}, marks=pytest.mark.needs_postgres),
        pytest.param({"task_name": "n" * 256}, marks=pytest.mark.needs_postgres),
    ],
)
def test_a_value_that_cannot_be_stored_is_blamed_and_the_rest_is_stored_without_it(hostile, rows_min, monkeypatch):
    monkeypatch.setattr(copying, "ROWS_MIN", rows_min)
    with pytest.raises(Exception) as refusal, transaction.atomic():  # noqa: PT011 -- any that is not a reason to wait
        insert_events({"event_id": "good"}, {"event_id": "bad"} | hostile)

    # Otherwise the batcher would try it for ever.
    assert not isinstance(refusal.value, DatabaseError) or blames_data(refusal.value)
    insert_events({"event_id": "good"})
    assert Event.objects.get().event_id == "good"


def test_a_known_key_takes_the_new_values():
    first, second = InstanceFactory.create_batch(2)
    columns = ("instance", "controls", "updated_at")
    bulk.upsert(TaskControls, columns, [(first.pk, [{"a": 1}], NOW)])

    bulk.upsert(TaskControls, columns, [(first.pk, [], NOW + timedelta(1)), (second.pk, [{"b": "'"}], NOW)])

    stored = {row.pk: (row.controls, row.updated_at) for row in TaskControls.objects.all()}
    assert stored == {first.pk: ([], NOW + timedelta(1)), second.pk: ([{"b": "'"}], NOW)}


def test_a_known_key_of_several_columns_takes_what_is_said_of_both():
    instance = InstanceFactory()
    columns = ("instance_id", "task_name", "name", "kind", "labels_hash", "labels", "value", "window_ended_at")

    def add(*values):
        rows = [(instance.pk, f"t{n}", "rows", "gauge", "", {}, value, NOW) for n, value in enumerate(values)]
        key = ("instance_id", "task_name", "name", "kind", "labels_hash")
        bulk.upsert(CustomMetricTotals, columns, rows, key=key, assignments="value = t.value + 10 * v.value")

    add(1.0)
    add(2.0, 3.0)

    assert dict(CustomMetricTotals.objects.values_list("task_name", "value")) == {"t0": 21.0, "t1": 3.0}


# --- what was new


SAMPLE_KEY = ("instance_id", "window_ended_at", "task_name", "window_id", "name", "kind", "labels_hash")


def new_samples(instance, *samples):
    """The positions of the new ones; a sample is its window's id and how many hours ago that ended."""
    columns = (*SAMPLE_KEY, "labels", "value", "received_at")
    rows = [
        (instance.pk, NOW - timedelta(hours=hours), "sync", window_id, "rows", "counter", "", {}, 1.0, NOW)
        for window_id, hours in samples
    ]
    return list(bulk.insert_new_positions(CustomMetric, columns, rows, key=SAMPLE_KEY))


def test_nothing_of_no_rows_is_new(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert new_samples(InstanceFactory.build()) == []


@pytest.mark.parametrize("rows_min", [1, 1000], ids=["copy first", "insert"])
def test_what_was_new_is_told_by_its_position(rows_min, monkeypatch):
    monkeypatch.setattr(copying, "ROWS_MIN", rows_min)
    monkeypatch.setattr(copying, "_wary_until", {})
    instance, other = InstanceFactory.create_batch(2)

    assert new_samples(instance, ("a", 0), ("b", 0)) == [0, 1]
    assert new_samples(instance, ("b", 0), ("c", 0), ("a", 0), ("d", 0), ("c", 0)) == [1, 3]
    assert new_samples(other, ("a", 0)) == [0]
    assert CustomMetric.objects.count() == 5


def test_what_was_new_is_told_across_statements(monkeypatch):
    monkeypatch.setattr(bulk, "DOCUMENT_MAX_BYTES", 500)
    monkeypatch.setattr(bulk, "_VARIABLES_MAX", 20)
    instance = InstanceFactory()
    samples = [(str(number), 0) for number in range(7)]

    assert new_samples(instance, *samples[::2]) == [0, 1, 2, 3]
    assert new_samples(instance, *samples, *samples) == [1, 3, 5]


# --- questions


def test_rows_for_which_a_condition_holds_are_told_by_their_position(monkeypatch):
    monkeypatch.setattr(bulk, "_VARIABLES_MAX", 9)
    online, offline = InstanceFactory(online=True), InstanceFactory(connectivity="offline")
    rows = [(pk, NOW) for pk in (offline.pk, uuid.uuid4(), online.pk, offline.pk, online.pk, offline.pk)]

    found = bulk.rows_where(
        [(Instance, "id"), (Instance, "last_seen_at")],
        rows,
        joins="JOIN agents_instance i ON i.id = v.id",
        condition="i.connectivity = 'offline' AND v.last_seen_at IS NOT NULL",
    )

    assert found == [0, 3, 5]


@pytest.mark.parametrize("rows_min", [1, 1000], ids=["copy first", "insert"])
def test_rows_that_must_be_new_are_refused_where_one_is_known(rows_min, monkeypatch):
    monkeypatch.setattr(copying, "ROWS_MIN", rows_min)
    monkeypatch.setattr(copying, "_wary_until", {})
    insert_events({"event_id": "known"}, insert=bulk.insert_all)

    with pytest.raises(IntegrityError), transaction.atomic():
        insert_events({"event_id": "new"}, {"event_id": "known"}, insert=bulk.insert_all)

    assert list(Event.objects.values_list("event_id", flat=True)) == ["known"]


@pytest.mark.needs_postgres
def test_what_is_large_goes_in_several_statements(monkeypatch):
    monkeypatch.setattr(bulk, "DOCUMENT_MAX_BYTES", 5000)
    changes = [{"event_id": str(number), "message": "x" * 1500} for number in range(7)]

    with copies() as words:
        insert_events(*changes, {"event_id": "alone", "message": "y" * 9000})

    # Two of them with all their columns, at a time.
    assert words == ["INSERT"] * 5
    assert Event.objects.count() == 8
