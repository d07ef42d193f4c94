"""Which facts rules mean."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from notifications.engine.facts import Fact
from notifications.engine.matching import RuleSpec, group_key, scope_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
FACT = Fact(
    event_id="e1",
    event_type="task_failed",
    occurred_at=NOON,
    received_at=NOON,
    service_id=5,
    service_name="billing",
    environment="prod",
    instance_id=UUID(int=1),
    labels={"rack": "r7"},
    task_name="sync.orders",
)
OF_PORTAL = Fact(
    event_id="e2", event_type="portal_lagging", occurred_at=NOON, received_at=NOON, portal_subject="replica"
)


def scope(services=(), environments=(), selector="", task_pattern=""):
    return scope_of(
        services=[{"name": name, "environment": environment} for name, environment in services],
        environments=environments,
        selector=selector,
        task_pattern=task_pattern,
    )


@pytest.mark.parametrize(
    ("asked", "is_meant"),
    [
        ({}, True),
        ({"services": [("billing", "prod")]}, True),
        ({"services": [("billing", "dev"), ("shop", "prod")]}, False),
        ({"environments": ["prod"]}, True),
        ({"environments": ["dev"]}, False),
        ({"selector": "rack=r7"}, True),
        ({"selector": "rack!=r7"}, False),
        ({"task_pattern": "sync.*"}, True),
        ({"task_pattern": "sync?orders , other"}, True),
        ({"task_pattern": "sync"}, False),
        ({"environments": ["prod"], "selector": "rack=r8"}, False),
        # It cannot be read any more: it means nobody, and raises nothing.
        ({"selector": "rack=="}, False),
    ],
    ids=str,
)
def test_all_parts_that_are_not_empty_must_hold(asked, is_meant):
    assert scope(**asked).holds(FACT) is is_meant


@pytest.mark.parametrize("asked", [{"selector": "!rack"}, {"task_pattern": "*"}, {"environments": ["prod"]}], ids=str)
def test_what_is_of_no_instance_or_task_fails_what_asks_for_one(asked):
    assert scope().holds(OF_PORTAL)
    assert not scope(**asked).holds(OF_PORTAL)


def test_a_missed_start_is_of_the_rules_of_its_own_grace():
    rule = RuleSpec(id=1, name="r", event_types=frozenset({"task_missed_start"}), grace_s=300)
    missed = replace(FACT, event_type="task_missed_start", grace_s=300)

    assert rule.asks(missed)
    assert not rule.asks(replace(missed, grace_s=600))


@pytest.mark.parametrize(
    ("group_by", "key"),
    [
        ("event", "task_failed:e1"),
        ("type", "task_failed"),
        ("service", "task_failed:5"),
        ("task", "task_failed:5:sync.orders"),
    ],
)
def test_facts_of_one_group_have_one_key(group_by, key):
    rule = RuleSpec(id=1, name="r", event_types=frozenset({"task_failed"}), group_by=group_by)

    assert group_key(rule, FACT) == key
    assert group_key(replace(rule, is_alone=True), FACT) == "task_failed:e1"
