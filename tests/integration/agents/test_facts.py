"""Facts of instances: stored as they came, only where they changed, and within bounds."""

import uuid
from dataclasses import replace

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import InstanceFacts, Replica
from agents.selectors.facts import LISTED_MAX_BYTES
from agents.services.inventory import CUT_KEY, FACTS_MAX_BYTES, store_facts
from agents.services.replicas import start_replica
from agents.services.sessions import open_sessions
from tests.factories.agents import InstanceFactory
from tests.integration.agents.test_opening import opening
from tests.integration.api_client import api_as

HOST = {"hostname": "host-1", "cpu_number": 8, "nested": {"disks": [{"size": 1.5}]}, "gpu": None}


@pytest.fixture
def instance(db):
    return InstanceFactory()


@pytest.fixture
def replica(db):
    return start_replica(Replica.Kind.WEB)


def test_facts_are_stored_as_they_came(instance):
    assert store_facts([(instance.pk, HOST)]) == {instance.pk}

    assert InstanceFacts.objects.get(pk=instance.pk).facts == HOST


def test_facts_replace_those_before_as_a_whole(instance):
    store_facts([(instance.pk, HOST)])

    store_facts([(instance.pk, {"a": 1}), (instance.pk, {"b": 2})])

    assert InstanceFacts.objects.get(pk=instance.pk).facts == {"b": 2}


def test_only_what_changed_is_written(db):
    instances = InstanceFactory.create_batch(3)
    store_facts([(each.pk, HOST) for each in instances])
    stamps = dict(InstanceFacts.objects.values_list("pk", "changed_at"))
    said = [(each.pk, dict(reversed(HOST.items()))) for each in instances]

    with CaptureQueriesContext(connection) as queries:
        assert store_facts(said) == set()
        assert store_facts([*said[1:], (instances[0].pk, {"hostname": "other"})]) == {instances[0].pk}

    # Addresses of before are taken away, too.
    assert len(queries) == 1 + 3
    changed = {pk for pk, at in InstanceFacts.objects.values_list("pk", "changed_at") if at != stamps[pk]}
    assert changed == {instances[0].pk}


def json_bytes(facts):
    return len(msgspec.json.encode(facts))


def test_what_no_database_keeps_is_replaced(instance):
    store_facts([(instance.pk, {"nul\x00": "a\x00b\ud800", "nan": float("nan"), "huge": 10**30, "set": {1}})])

    stored = InstanceFacts.objects.get(pk=instance.pk).facts
    # PostgreSQL gives a number of that size back without its point.
    assert float(stored.pop("huge")) == 1e30
    assert stored == {"nul\ufffd": "a\ufffdb\ufffd", "nan": None, "set": "{1}"}


@pytest.mark.parametrize(
    "ballast",
    [
        {"ballast": "x" * FACTS_MAX_BYTES},
        {f"ballast-{number}": "x" * 1000 for number in range(FACTS_MAX_BYTES // 900)},
        {f"{'ö' * 2000}{number}": 1 for number in range(FACTS_MAX_BYTES // 4000 + 10)},
    ],
)
def test_facts_that_are_too_large_are_cut_and_say_so(instance, ballast):
    whole = HOST | ballast

    store_facts([(instance.pk, whole)])

    stored = InstanceFacts.objects.get(pk=instance.pk).facts
    mark = stored.pop(CUT_KEY)
    assert json_bytes(stored | {CUT_KEY: mark}) <= FACTS_MAX_BYTES
    assert stored.items() >= HOST.items()
    assert all(whole[name] == value for name, value in stored.items())
    assert (mark["bytes"], mark["entries"]) == (json_bytes(whole), len(whole) - len(stored))
    assert 0 < len(mark["names"]) <= 20
    assert store_facts([(instance.pk, whole)]) == set()
    assert InstanceFacts.objects.get(pk=instance.pk).facts_bytes == json_bytes(stored | {CUT_KEY: mark})


def test_large_facts_are_left_out_where_many_are_told_of(instance):
    large, silent = InstanceFactory(), InstanceFactory()
    store_facts([(instance.pk, HOST), (large.pk, {"ballast": "x" * LISTED_MAX_BYTES})])
    api = api_as("viewer")

    listed = {item["id"]: item for item in api.get("inventory").json()["items"]}

    told = {
        key: (listed[str(each.pk)]["facts"], listed[str(each.pk)]["facts_bytes"])
        for key, each in {"small": instance, "large": large, "silent": silent}.items()
    }
    assert told == {"small": (HOST, json_bytes(HOST)), "large": (None, LISTED_MAX_BYTES + 14), "silent": ({}, 0)}
    whole = api.get(f"instances/{large.pk}/facts").json()["facts"]
    assert len(whole["ballast"]) == LISTED_MAX_BYTES


def test_facts_that_nobody_asked_for_are_not_read(instance):
    store_facts([(instance.pk, HOST)])
    api = api_as("viewer")

    with CaptureQueriesContext(connection) as queries:
        api.get("inventory?fields=id")

    assert not [each for each in queries if "facts" in each["sql"]]


def test_a_hello_stores_what_outlives_the_process(replica):
    first = opening(hostname="host-1")

    open_sessions([first], replica_id=replica.pk)

    assert InstanceFacts.objects.get(pk=first.hello.service.instance_id).facts == {
        "node_name": "n",
        "hostname": "host-1",
        "deployment_version": "1",
        "onestep_version": "1",
        "python_version": "3",
        "protocol_version": "1",
        "capabilities": ["telemetry.sync"],
    }


def test_hellos_that_say_nothing_new_cost_no_statement_for_facts(replica):
    openings = [opening(hostname=f"h{number}") for number in range(20)]

    def restarted(each):
        runtime = msgspec.structs.replace(each.hello.runtime, pid=7)
        return replace(each, hello=msgspec.structs.replace(each.hello, runtime=runtime))

    def told():
        return [query["sql"] for query in queries if "instancefacts" in query["sql"] and "UPDATE SET" in query["sql"]]

    with CaptureQueriesContext(connection) as queries:
        open_sessions(openings, replica_id=replica.pk)
    assert len(told()) == 1

    with CaptureQueriesContext(connection) as queries:
        open_sessions([restarted(each) for each in openings], replica_id=replica.pk)
    assert told() == []


def test_a_hello_with_a_new_version_changes_the_facts(replica):
    instance_id = uuid.uuid4()
    open_sessions([opening(instance_id, version="1")], replica_id=replica.pk)

    open_sessions([opening(instance_id, version="2")], replica_id=replica.pk)

    assert InstanceFacts.objects.get(pk=instance_id).facts["deployment_version"] == "2"
