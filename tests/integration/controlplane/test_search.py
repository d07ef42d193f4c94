"""Both databases find the same: what Python says of a text is what the database answers."""

import random

import pytest
from django.db import connection

from agents.selectors import history as selector
from agents.selectors.history import SEARCHED_TEXTS, history, mentioning
from controlplane.common.search import SearchInvalid, parse
from tests.factories import EventFactory, InstanceFactory

pytestmark = pytest.mark.django_db
# Short, so that searches often find something; with what parts words, joins them, or means something to a database.
WORDS = "a b ab A B 1 12 1e5 1E5x x x1 é É ß ж Σ ς ｘ 支 付 支付 付支 か カ 한 \U00020000 or OR and not"
SIGNS = "- -- . / : _ ' '' \\ % %s * + & | ! < > <b> &amp; http:// a@b 10.0 ( ) [ ] { } $ ^ ? \U0001f600"
PARTS = [*WORDS.split(), *SIGNS.split(), "\n", "\t"]
SEED = 7


def texts(dice, count):
    """Texts of parts, joined by blanks or by nothing."""
    for _ in range(count):
        yield "".join(dice.choice(PARTS) + dice.choice(["", "", " "]) for _ in range(dice.randint(1, 8)))


def searches(dice, count):
    """Searches of words, phrases and exclusions that can be asked."""
    made = []
    while len(made) < count:
        pieces = []
        for _ in range(dice.randint(1, 3)):
            text = next(texts(dice, 1)).replace('"', "")
            pieces.append(dice.choice(["", "", "-"]) + dice.choice(["{}", '"{}"']).format(text))
        search = dice.choice([" ", " ", " or "]).join(pieces)
        try:
            parse(search)
        except SearchInvalid:
            continue
        made.append(search)
    return made


@pytest.fixture
def events():
    """Notable events with random texts, some in a column of their own."""
    dice, instance = random.Random(SEED), InstanceFactory()
    columns = [name for name, _ in SEARCHED_TEXTS]
    return [
        EventFactory(instance=instance, kind="task.failed", **{"task_name": "", dice.choice(columns): text[:60]})
        for text in texts(dice, 150)
    ]


def written(event):
    return " ".join(getattr(event, column)[:length] for column, length in SEARCHED_TEXTS)


@pytest.mark.parametrize("is_frequent", [False, True])
def test_databases_find_what_python_finds(events, is_frequent, monkeypatch):
    monkeypatch.setattr(selector, "FREQUENT", 0 if is_frequent else 10_000)
    if connection.vendor == "postgresql" and not is_frequent:
        _forbid_sequential_scans()

    for search in searches(random.Random(SEED), 200):
        expected = {event.pk for event in events if parse(search).finds(written(event))}

        found = set(mentioning(history(administrator=True), search).values_list("pk", flat=True))

        assert found == expected, search


def _forbid_sequential_scans():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")


def test_texts_are_searched_up_to_their_bounds():
    EventFactory(kind="task.failed", message="x " * 999 + "in out")

    assert mentioning(history(administrator=True), "in").exists()
    assert not mentioning(history(administrator=True), "out").exists()


def test_routine_events_are_not_searched():
    EventFactory(kind="task.succeeded", message="found")

    assert not mentioning(history(administrator=True), "found").exists()


def test_huge_words_and_texts_are_stored_and_searched_around():
    EventFactory(kind="task.failed", message="y" * 100_000, traceback="z " * 200_000, exception_type="Known")

    assert mentioning(history(administrator=True), "known").count() == 1


@pytest.fixture
def many_events():
    """5,000 notable events that hold other words."""
    event = EventFactory(kind="task.failed", message="connection refused")
    columns = (
        "kind, level, occurred_at, received_at, task_name, actor, message, "
        "failure_kind, exception_type, traceback, meta"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO agents_event (event_id, {columns}) "
            f"SELECT event_id || n, {columns} FROM agents_event, generate_series(1, 4999) n WHERE id = %s",
            [event.pk],
        )
        cursor.execute("ANALYZE agents_event")


@pytest.mark.needs_postgres
@pytest.mark.parametrize("search", ["unicorn", "支付失败", '"horse unicorn" or zebra', "unicorn -connection"])
def test_rare_words_are_looked_up_in_the_index(many_events, search):
    """The texts of the index and of the query must be the same to the letter."""
    plan = mentioning(history(administrator=True), search).order_by("-occurred_at", "-id")[:51].explain()

    assert "Index Cond: (to_tsvector(" in plan


@pytest.mark.needs_postgres
def test_frequent_words_are_read_from_the_newest_event_on(many_events, monkeypatch):
    monkeypatch.setattr(selector, "FREQUENT", 5000)

    plan = mentioning(history(administrator=True), "refused").order_by("-occurred_at", "-id")[:51].explain()

    assert "Merge Append" in plan
    assert "to_tsvector" not in plan
