"""Verdicts on nodes: two thresholds with hysteresis, and no verdict while the portal is blind."""

import threading
from datetime import timedelta
from types import MappingProxyType

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from agents.models import Event, Instance, NodeCounter
from agents.selectors.nodes import settings_mark
from agents.services.errors import NodeSetMeanwhile
from agents.services.liveness import judge_nodes, sweep_offline
from agents.services.node_reports import StatusReport, record_report, record_reports
from agents.services.nodes import Registration, configure_node, register_node
from agents.words import event_text
from controlplane.common.actors import Actor
from tests.factories import InstanceFactory, ReplicaFactory

NOW = timezone.now()
LONG_AGO = NOW - timedelta(hours=1)
DEADLINE_S = 30


def portal(**changes):
    """A process that takes reports and has seen without a gap for an hour."""
    return ReplicaFactory(**{"kind": "web", "last_seen_at": NOW, "sight_since": LONG_AGO} | changes)


def node(name="n", *, status="never_reported", seen_s=None, registered_s=0.0):
    """A node last seen, and registered, so many seconds ago."""
    record, _is_new = register_node(Registration(name=name, type="agent", version="1", meta_data={}))
    Instance.objects.filter(external_id=record.id).update(
        connectivity=status,
        last_seen_at=None if seen_s is None else NOW - timedelta(seconds=seen_s),
        created_at=NOW - timedelta(seconds=registered_s),
    )
    return Instance.objects.get(external_id=record.id)


def status_of(instance):
    instance.refresh_from_db()
    return instance.connectivity


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "seen_s", "verdict"),
    [
        ("online", 0, "online"),
        ("online", 120, "online"),
        ("online", 121, "online"),
        ("online", 180, "online"),
        ("online", 181, "offline"),
        ("offline", 181, "offline"),
        ("offline", 180, "offline"),
        ("offline", 121, "offline"),
        ("offline", 120, "online"),
        ("online", -30, "online"),
    ],
)
def test_node_is_held_against_both_thresholds(status, seen_s, verdict):
    portal()
    instance = node(status=status, seen_s=seen_s)

    turned = judge_nodes(NOW)

    assert (status_of(instance), turned) == (verdict, int(verdict != status))


@pytest.mark.django_db
@pytest.mark.parametrize("mark", ["archived_at", "forget_requested_at"])
@pytest.mark.parametrize("history", [{"registered_s": 181}, {"status": "online", "seen_s": 181}])
def test_node_that_is_archived_or_being_forgotten_is_not_judged(mark, history):
    portal()
    instance = node(**history)
    before = instance.connectivity
    Instance.objects.update(**{mark: NOW})

    assert judge_nodes(NOW) == 0
    assert status_of(instance) == before
    assert not Event.objects.filter(kind="instance.offline").exists()


@pytest.mark.django_db
def test_archived_nodes_that_report_come_back_in_a_number_of_statements_that_does_not_grow():
    def cost(*names):
        reports = [StatusReport(node_id=node(name).external_id, reported_at=NOW, health={}) for name in names]
        Instance.objects.update(archived_at=NOW)
        with CaptureQueriesContext(connection) as captured:
            record_reports(reports)
        assert not Instance.objects.filter(archived_at__isnull=False, node__name__in=names).exists()
        return len(captured)

    assert cost("a") == cost("b", "c", "d")


@pytest.mark.django_db
@pytest.mark.parametrize(("registered_s", "verdict"), [(180, "never_reported"), (181, "offline")])
def test_node_that_never_reported_is_offline_some_time_after_its_registration(registered_s, verdict):
    portal()
    instance = node(registered_s=registered_s)

    judge_nodes(NOW)

    assert status_of(instance) == verdict


@pytest.mark.django_db
def test_thresholds_are_those_of_the_settings(settings):
    settings.ONLINE_THRESHOLD_SECONDS, settings.OFFLINE_THRESHOLD_SECONDS = 2, 5
    portal()
    instance = node(status="online", seen_s=6)

    judge_nodes(NOW)

    assert status_of(instance) == "offline"


@pytest.mark.django_db
def test_every_verdict_is_an_event_with_old_new_and_reason_once():
    portal()
    seen = node("a", status="online", seen_s=200)
    silent = node("b", registered_s=300)
    Event.objects.all().delete()

    assert [judge_nodes(NOW), judge_nodes(NOW)] == [2, 0]

    events = {row.instance_id: (row.kind, row.level, row.meta) for row in Event.objects.all()}
    assert events == {
        seen.pk: (
            "instance.offline",
            "warn",
            {
                "old": "online",
                "new": "offline",
                "reason": "Its last status report is 200 s old.",
                "last_seen_at": seen.last_seen_at.isoformat(),
            },
        ),
        silent.pk: (
            "instance.offline",
            "warn",
            {
                "old": "never_reported",
                "new": "offline",
                "reason": "No status report came within 300 s of its registration.",
                "last_seen_at": None,
            },
        ),
    }


@pytest.mark.django_db
def test_why_a_node_turned_is_told_in_words_of_the_reader():
    portal()
    node("a", status="online", seen_s=200)
    node("b", registered_s=300)

    judge_nodes(NOW)

    offline = Event.objects.filter(kind="instance.offline").order_by("message")
    assert [event_text(event) for event in offline] == [
        "No status report came since its registration.",
        "Its last status report is too old.",
    ]
    with translation.override("zh-hans"):
        assert event_text(offline[1]) == "最近一次状态上报已超过离线时限。"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "blind",
    [
        {"sight_since": NOW - timedelta(seconds=119)},
        {"last_seen_at": LONG_AGO},
        {"stopped_at": NOW},
        {"kind": "worker"},
    ],
    ids=["just-started", "silent", "stopped", "takes-no-reports"],
)
def test_nobody_is_called_offline_while_the_portal_is_blind(blind):
    portal(**blind)
    silent, fresh = node("a", status="online", seen_s=600), node("b", status="offline", seen_s=5)

    judge_nodes(NOW)

    assert (status_of(silent), status_of(fresh)) == ("online", "online")


@pytest.mark.django_db
def test_sight_of_one_reporting_interval_is_enough():
    portal(sight_since=NOW - timedelta(seconds=120))
    node(status="online", seen_s=600)

    assert judge_nodes(NOW) == 1


@pytest.mark.django_db
def test_each_sweep_leaves_the_others_rows_alone():
    portal()
    of_registry = node(status="online", seen_s=600)
    of_onestep = InstanceFactory(online=True, last_seen_at=NOW - timedelta(seconds=600))

    judge_nodes(NOW)
    assert (status_of(of_registry), status_of(of_onestep)) == ("offline", "online")

    Instance.objects.filter(pk=of_registry.pk).update(connectivity="online")
    sweep_offline(NOW)
    assert (status_of(of_registry), status_of(of_onestep)) == ("online", "offline")


@pytest.mark.django_db
def test_verdicts_cost_the_same_for_one_and_for_many(django_assert_num_queries):
    portal()
    for count in (1, 7):
        for number in range(count):
            node(f"{count}-{number}", status="online", seen_s=600)
        with django_assert_num_queries(6):
            assert judge_nodes(NOW) == count


@pytest.mark.django_db
def test_reports_of_one_batch_share_their_statements(django_assert_num_queries):
    reports = [
        StatusReport(node_id=f"A{number}", reported_at=NOW, health={"disk": {"status": "ok"}})
        for number in (*range(1, 8), 3, 99)
    ]
    for number in range(1, 8):
        node(f"n{number}")
    record_reports(reports)

    # And the two ends of the transaction.
    with django_assert_num_queries(4):
        outcomes = record_reports(reports)

    assert [record and record.id for record in outcomes] == ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A3", None]


@pytest.mark.django_db
def test_reports_of_one_node_in_one_batch_count_in_their_order():
    instance = node()
    statuses = ("ok", "failed", "ok")

    outcomes = record_reports(
        [StatusReport(node_id="A1", reported_at=NOW, health={"disk": {"status": status}}) for status in statuses]
    )

    assert [record.health["disk"]["status"] for record in outcomes] == list(statuses)
    assert list(Event.objects.order_by("id").values_list("kind", flat=True)) == [
        "instance.registered",
        "instance.online",
        "instance.health_changed",
        "instance.health_changed",
    ]
    instance.refresh_from_db()
    assert (instance.health, instance.node.health) == ("ok", {"disk": {"status": "ok"}})


@pytest.mark.django_db
def test_report_restores_what_was_archived():
    instance = node(status="offline", seen_s=600)
    Instance.objects.update(archived_at=LONG_AGO)
    instance.service.archived_at = LONG_AGO
    instance.service.save()

    record_report(StatusReport(node_id="A1", reported_at=NOW, health={}))

    instance = Instance.objects.select_related("service").get()
    assert (instance.archived_at, instance.service.archived_at) == (None, None)
    assert Event.objects.filter(kind__endswith=".restored").count() == 2


# --- races


def in_threads(*works):
    """Run each in a thread with a connection of its own, from a barrier on; returns what they returned, or raised."""
    barrier = threading.Barrier(len(works), timeout=DEADLINE_S)
    outcomes = [None] * len(works)

    def run(number, work):
        try:
            barrier.wait()
            outcomes[number] = work()
        except BaseException as error:
            outcomes[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    return outcomes


def registering(name, **changes):
    return lambda: register_node(
        Registration(**{"name": name, "type": "agent", "version": "1", "meta_data": {"env": "dev"}} | changes)
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("counter", ["counted-before", "first-of-all"])
def test_registrations_of_one_new_name_at_once_are_one_node(counter):
    if counter == "counted-before":
        registering("other")()

    outcomes = in_threads(*[registering("same") for _ in range(8)])

    ids = {record.id for record, _is_new in outcomes}
    assert len(ids) == 1
    assert sorted(is_new for _record, is_new in outcomes) == [False] * 7 + [True]
    assert Instance.objects.filter(node__name="same").count() == 1


@pytest.mark.django_db(transaction=True)
def test_registrations_of_new_names_at_once_are_counted_without_a_gap():
    outcomes = in_threads(*[registering(f"n{number}") for number in range(8)])

    assert {record.id for record, _is_new in outcomes} == {f"A{number}" for number in range(1, 9)}
    assert NodeCounter.objects.get().last == 8


@pytest.mark.django_db(transaction=True)
def test_registering_again_and_reporting_at_once_lose_nothing():
    registering("n")()

    outcomes = in_threads(
        *[registering("n", node_id="A1", version="2") for _ in range(3)],
        *[
            lambda: record_report(StatusReport(node_id="A1", reported_at=NOW, health={"d": {"status": "ok"}}))
            for _ in range(3)
        ],
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    instance = Instance.objects.select_related("node").get()
    assert (instance.node.version, instance.connectivity, instance.node.health) == (
        "2", "online", {"d": {"status": "ok"}},
    )  # fmt: skip


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_report_that_is_being_stored_during_a_sweep_wins():
    """The sweep passes over a row that a report holds."""
    portal()
    instance = node(status="online", seen_s=600)

    with transaction.atomic():
        Instance.objects.select_for_update(no_key=True).get(pk=instance.pk)
        (turned,) = in_threads(lambda: judge_nodes(NOW))
        record_reports([StatusReport(node_id="A1", reported_at=NOW, health={})])

    assert turned == 0
    assert status_of(instance) == "online"
    assert not Event.objects.filter(kind="instance.offline").exists()


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_report_that_comes_during_a_sweep_wins():
    """It waits for the sweep, and turns the node back."""
    portal()
    instance = node(status="online", seen_s=600)
    reporting = threading.Thread(target=report_alone)

    with transaction.atomic():
        assert judge_nodes(NOW) == 1
        reporting.start()
        wait_for_lock()
    reporting.join(DEADLINE_S)

    assert status_of(instance) == "online"
    kinds = list(Event.objects.filter(instance=instance).order_by("id").values_list("kind", flat=True))
    assert kinds[-2:] == ["instance.offline", "instance.online"]


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_report_that_waits_for_another_is_held_against_what_that_one_stored():
    """It says what was stored before both: only by what the other stored it is news."""
    node()
    good, bad = {"disk": {"status": "ok"}}, {"disk": {"status": "failed"}}
    record_reports([StatusReport(node_id="A1", reported_at=NOW, health=good)])
    waiting = threading.Thread(target=report_alone, args=(good,))

    with transaction.atomic():
        record_reports([StatusReport(node_id="A1", reported_at=NOW, health=bad)])
        waiting.start()
        wait_for_lock()
    waiting.join(DEADLINE_S)

    instance = Instance.objects.select_related("node").get()
    assert (instance.node.health, instance.health) == (good, "ok")


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_of_two_operators_at_once_the_second_is_told():
    seen = settings_mark(node().node)
    outcomes = []

    def set_mine():
        try:
            outcomes.append(configure_node("A1", label=["mine"], actor=Actor("x"), seen=seen))
        except NodeSetMeanwhile as error:
            outcomes.append(error)
        finally:
            connections.close_all()

    waiting = threading.Thread(target=set_mine)
    with transaction.atomic():
        configure_node("A1", label=["theirs"], actor=Actor("y"), seen=seen)
        waiting.start()
        wait_for_lock()
    waiting.join(DEADLINE_S)

    assert [type(outcome) for outcome in outcomes] == [NodeSetMeanwhile]
    assert Instance.objects.get().node.label == ["theirs"]


def report_alone(health=MappingProxyType({})):
    try:
        record_report(StatusReport(node_id="A1", reported_at=NOW, health=dict(health)))
    finally:
        connections.close_all()


def wait_for_lock():
    """Until some other session of this database waits for a lock."""
    waiting = threading.Event()
    for _ in range(DEADLINE_S * 20):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        waiting.wait(0.05)
    raise AssertionError("Nobody waits for a lock.")
