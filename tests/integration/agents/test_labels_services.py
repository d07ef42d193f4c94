"""Layers of labels: who writes what, what wins, what history tells, and two writers at once."""

import threading
import uuid

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from agents.labels import LabelsInvalid
from agents.models import Event, InstanceLabels
from agents.models.event import EventKind
from agents.services.errors import InstanceUnknown
from agents.services.labels import (
    change_operator_labels,
    patch_operator_labels,
    set_operator_labels,
    store_agent_labels,
    store_tags,
)
from controlplane.common.actors import Actor
from tests.factories.agents import InstanceFactory

pytestmark = pytest.mark.django_db
ALICE = Actor("alice", via="console", address="10.0.0.1")


def stored(instance):
    row = InstanceLabels.objects.get(pk=instance.pk)
    return {"agent": row.agent, "tags": row.tags, "operator": row.operator, "effective": row.effective}


def changes(instance):
    return list(Event.objects.filter(instance=instance, kind=EventKind.OBJECT_CHANGED).order_by("id"))


def test_operators_win_over_tags_and_tags_over_the_agent():
    instance = InstanceFactory()

    set_operator_labels(instance.pk, {"c": "operator", "环境": "生产"}, actor=ALICE)
    store_agent_labels([(instance.pk, {"a": "agent", "b": "agent", "c": "agent", "环境": "x"})])
    store_tags([(instance.pk, ["b=tag", "c=tag", "gpu"])])

    assert stored(instance) == {
        "agent": {"a": "agent", "b": "agent", "c": "agent", "环境": "x"},
        "tags": {"b": "tag", "c": "tag", "gpu": ""},
        "operator": {"c": "operator", "环境": "生产"},
        "effective": {"a": "agent", "b": "tag", "c": "operator", "gpu": "", "环境": "生产"},
    }


def test_a_layer_that_shrinks_uncovers_the_one_below():
    instance = InstanceFactory()
    store_agent_labels([(instance.pk, {"env": "agent"})])
    set_operator_labels(instance.pk, {"env": "operator"}, actor=ALICE)

    set_operator_labels(instance.pk, {}, actor=ALICE)

    assert stored(instance)["effective"] == {"env": "agent"}


def test_only_what_changed_is_written(django_assert_num_queries):
    instances = [InstanceFactory() for _ in range(3)]
    store_agent_labels([(instance.pk, {"env": "prod"}) for instance in instances])

    with django_assert_num_queries(1):
        assert store_agent_labels([(instance.pk, {"env": "prod"}) for instance in instances]) == set()
    with django_assert_num_queries(2):
        assert store_agent_labels([(instances[0].pk, {}), (instances[1].pk, {"env": "prod"})]) == {instances[0].pk}
    with django_assert_num_queries(1):
        assert store_tags([(instance.pk, []) for instance in instances]) == set()

    assert stored(instances[0])["effective"] == {}


def test_wrong_labels_of_agents_are_left_out_and_told_once():
    instance = InstanceFactory()
    said = [(instance.pk, {"env": "prod", "-": "x", "portal/os": "mine", "n": 5, "a\x00": "x", "z": "\ud800"})]

    store_agent_labels(said)
    store_agent_labels(said)

    row = InstanceLabels.objects.get(pk=instance.pk)
    event = Event.objects.get(kind=EventKind.INGEST_REJECTED)
    assert row.agent == row.effective == {"env": "prod"}
    assert set(row.refused) == {"-", "portal/os", "n", "a\ufffd", "z"}
    assert (event.instance, event.meta["channel"], event.meta["count"]) == (instance, "labels", 5)

    store_agent_labels([(instance.pk, {"env": "prod"})])

    assert InstanceLabels.objects.get(pk=instance.pk).refused == {}


def test_what_operators_change_is_history_of_the_instance():
    instance = InstanceFactory()
    set_operator_labels(instance.pk, {"env": "prod", "old": "", "same": "1"}, actor=ALICE)

    patch_operator_labels(instance.pk, {"env": "test", "old": None, "new": "x" * 600, "missing": None}, actor=ALICE)
    patch_operator_labels(instance.pk, {"env": "test"}, actor=ALICE)

    _made, changed = changes(instance)
    assert (changed.actor, changed.subject) == ("alice", f"agents.instance:{instance.pk}")
    assert changed.meta == {
        "address": "10.0.0.1",
        "via": "console",
        "before": {"labels.env": "prod", "labels.old": ""},
        "after": {"labels.env": "test", "labels.new": "x" * 500 + "…"},
    }


def test_many_instances_change_in_a_constant_number_of_statements():
    instances = [InstanceFactory() for _ in range(5)]
    set_operator_labels(instances[0].pk, {"env": "prod", "old": "x"}, actor=ALICE)

    counts = []
    for among in (instances[:2], instances[2:]):
        with CaptureQueriesContext(connection) as captured:
            done = change_operator_labels(
                [row.pk for row in among], given={"env": "prod"}, removed=["old"], actor=ALICE
            )
        counts.append(len(captured))
        assert (done.instance_count, done.changed_ids) == (len(among), {row.pk for row in among})

    assert counts[0] == counts[1]
    assert [stored(row)["operator"] for row in instances] == [{"env": "prod"}] * 5
    assert Event.objects.filter(kind=EventKind.OBJECT_CHANGED).count() == 6


def test_bulk_changes_are_made_for_all_or_none():
    full, other = InstanceFactory(), InstanceFactory()
    set_operator_labels(full.pk, {f"k{number}": "" for number in range(64)}, actor=ALICE)

    with pytest.raises(LabelsInvalid, match="64 labels at most"):
        change_operator_labels([other.pk, full.pk], given={"one": "more"}, actor=ALICE)
    with pytest.raises(InstanceUnknown):
        change_operator_labels([other.pk, uuid.uuid4()], given={"one": "more"}, actor=ALICE)
    with pytest.raises(LabelsInvalid) as both:
        change_operator_labels([other.pk], given={"a": "1"}, removed=["a"], actor=ALICE)

    assert both.value.field == "remove"
    assert not InstanceLabels.objects.filter(pk=other.pk).exclude(effective={}).exists()


def test_full_instances_may_still_change_what_they_have():
    full = InstanceFactory()
    set_operator_labels(full.pk, {f"k{number}": "" for number in range(64)}, actor=ALICE)

    done = patch_operator_labels(full.pk, {"k1": "x"}, actor=ALICE)

    assert done.changed_ids == {full.pk}
    assert len(done.warnings) == 1


@pytest.mark.parametrize("labels", [[], "env=prod", None, {"a b": "x"}, {"a": 1}])
def test_operators_are_told_what_is_wrong(labels):
    instance = InstanceFactory()

    with pytest.raises(LabelsInvalid):
        set_operator_labels(instance.pk, labels, actor=ALICE)
    assert not InstanceLabels.objects.exists()


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_new", [True, False])
def test_writers_of_different_layers_at_once_lose_nothing(is_new):
    instance = InstanceFactory()
    if not is_new:
        store_agent_labels([(instance.pk, {"x": "x"})])
    rounds = 15
    barrier = threading.Barrier(3, timeout=30)
    failures = []

    def run(write):
        try:
            for number in range(rounds):
                barrier.wait()
                with transaction.atomic():
                    write(str(number))
        except BaseException as error:
            failures.append(error)
            barrier.abort()
        finally:
            connection.close()

    def agent(value):
        store_agent_labels([(instance.pk, {"a": value, "both": f"agent {value}"})])

    def tags(value):
        store_tags([(instance.pk, [f"t={value}"])])

    def operator(value):
        patch_operator_labels(instance.pk, {"o": value, "both": f"operator {value}"}, actor=ALICE)

    threads = [threading.Thread(target=run, args=(write,)) for write in (agent, tags, operator)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    last = str(rounds - 1)
    assert failures == []
    assert stored(instance)["effective"] == {"a": last, "t": last, "o": last, "both": f"operator {last}"}


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_lose_nothing_and_tell_what_they_replaced():
    instances = [InstanceFactory() for _ in range(4)]
    barrier = threading.Barrier(4, timeout=30)
    failures = []

    def run(number):
        ids = [row.pk for row in (instances if number % 2 else instances[::-1])]
        try:
            barrier.wait()
            for turn in range(5):
                change_operator_labels(ids, given={f"k{number}": str(turn), "shared": f"{number}-{turn}"}, actor=ALICE)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    for instance in instances:
        assert {f"k{number}": "4" for number in range(4)}.items() <= stored(instance)["operator"].items()
        told = [
            (event.meta.get("before", {}).get("labels.shared"), event.meta["after"]["labels.shared"])
            for event in changes(instance)
        ]
        assert sorted(told, key=lambda pair: pair[0] or "")[0][0] is None
        assert len({before for before, _after in told}) == len(told) == 20
