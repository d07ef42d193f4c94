"""Fan-outs as they are kept: with their order, frozen with their targets, for as long as their commands."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Command, FanOut, FanOutTarget
from agents.services.orders import Order
from controlplane.common.actors import Actor
from tasks_app.services.commands import fan_out, order_command
from tasks_app.services.storage import apply_retention
from tests.factories import InstanceFactory, ServiceFactory, SessionFactory

pytestmark = pytest.mark.django_db
ACTOR = Actor("operator")
PING = Order(kind="ping", reason="after the deploy", args={"n": 1})


def connected(service, **fields):
    return SessionFactory(instance=InstanceFactory(service=service, online=True), **fields).instance


def test_a_fan_out_of_a_service_is_kept_with_what_became_of_it_at_each():
    service = ServiceFactory()
    able, unable = connected(service), connected(service, accepted_capabilities=[])
    never = InstanceFactory(service=service)

    made = fan_out(service, PING, actor=ACTOR, instance_ids=[never.pk, unable.pk, able.pk])

    kept = FanOut.objects.get()
    assert kept == made.kept
    assert (kept.kind, kept.args, kept.target_mode, kept.service, kept.reason, kept.created_by_name) == (
        "ping",
        {"n": 1},
        "selected_instances",
        service,
        "after the deploy",
        "operator",
    )
    assert (kept.dispatched, kept.queued, kept.skipped, kept.rejected) == (1, 0, 1, 1)
    command = Command.objects.get()
    assert command.created_at == kept.created_at
    assert list(kept.targets.order_by("id").values_list("instance", "outcome", "reason_code", "command")) == [
        (never.pk, "skipped", "no_active_session", None),
        (unable.pk, "rejected", "missing_capability", None),
        (able.pk, "dispatched", "", command.pk),
    ]


def test_a_fan_out_that_nobody_met_is_kept_too():
    fan_out(ServiceFactory(), PING, actor=ACTOR)

    assert (FanOut.objects.get().target_count, FanOutTarget.objects.count()) == (0, 0)


def test_a_single_command_is_no_fan_out():
    instance = connected(ServiceFactory())
    with CaptureQueriesContext(connection) as queries:
        order_command(instance.pk, PING, actor=ACTOR)

    assert FanOut.objects.count() == 0
    assert not any("fanout" in query["sql"] for query in queries)


def test_keeping_takes_as_many_statements_for_many_as_for_few():
    service, statements = ServiceFactory(), []
    for count in (2, 30):
        for _ in range(count):
            connected(service)
        with CaptureQueriesContext(connection) as queries:
            fan_out(service, PING, actor=ACTOR)
        statements.append(len([query for query in queries if "fanout" in query["sql"]]))

    assert statements == [2, 2]


def test_what_cannot_be_kept_is_not_sent(monkeypatch):
    service = ServiceFactory()
    connected(service)
    monkeypatch.setattr("agents.services.commands._TARGET_COLUMNS", ("fan_out_id", "nonsense"))

    with pytest.raises(Exception, match="nonsense"):
        fan_out(service, PING, actor=ACTOR)

    assert (Command.objects.count(), FanOut.objects.count()) == (0, 0)


def test_an_instance_of_a_dialect_without_commands_is_rejected():
    service = ServiceFactory()
    runner = InstanceFactory(service=service, online=True, dialect="argus")

    targets = fan_out(service, PING, actor=ACTOR).targets

    assert [(target.instance, target.outcome, target.reason_code) for target in targets] == [
        (runner, "rejected", "dialect_without_commands")
    ]


def test_an_archived_instance_is_no_target():
    service = ServiceFactory()
    InstanceFactory(service=service, online=True, archived_at=timezone.now())

    assert fan_out(service, PING, actor=ACTOR).targets == []


def past_fan_out(settings, *, status="succeeded", age=timedelta(hours=1)):
    service = ServiceFactory()
    for _ in range(3):
        connected(service)
    made = fan_out(service, PING, actor=ACTOR).kept
    at = timezone.now() - timedelta(days=settings.RETENTION_AGENT_COMMANDS_DAYS) - age
    FanOut.objects.filter(pk=made.pk).update(created_at=at)
    Command.objects.update(created_at=at, updated_at=at, status=status)
    return made


def test_a_fan_out_goes_with_its_commands(settings):
    past_fan_out(settings)
    fan_out(ServiceFactory(), PING, actor=ACTOR)

    assert apply_retention()

    assert (FanOut.objects.count(), FanOutTarget.objects.count(), Command.objects.count()) == (1, 0, 0)


def test_a_fan_out_stays_while_one_of_its_commands_does(settings):
    past_fan_out(settings, status="accepted")

    apply_retention()

    assert (FanOut.objects.count(), FanOutTarget.objects.count()) == (1, 3)


def test_a_fan_out_of_more_targets_than_a_batch_goes_all_the_same(settings):
    settings.RETENTION_DELETE_BATCH_SIZE = 2
    past_fan_out(settings)

    assert apply_retention()

    assert (FanOut.objects.count(), FanOutTarget.objects.count()) == (0, 0)
