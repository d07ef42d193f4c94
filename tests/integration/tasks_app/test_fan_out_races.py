"""Two at once: the same order twice, and two groups of one name."""

import threading
import uuid

import pytest
from django.db import connections

from agents.labels import parse
from agents.models import Command, FanOut, FanOutTarget, Group, Instance
from agents.services import commands
from agents.services.errors import FanOutGiven, GroupNameTaken
from agents.services.groups import create_group
from agents.services.orders import Order
from controlplane.common.actors import Actor
from controlplane.common.bulk import insert_all
from tasks_app.services.fan_outs import Aim, fan_out_to
from tests.factories import InstanceLabelsFactory, SessionFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]
ACTOR = Actor("operator")
CALLERS = 4


def at_once(call):
    """What each of CALLERS threads got from the call, an error where it raised one."""
    barrier, outcomes = threading.Barrier(CALLERS), []

    def run():
        barrier.wait()
        try:
            outcomes.append(call())
        except Exception as error:
            outcomes.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_an_order_that_is_given_twice_at_once_is_given_once():
    for _ in range(3):
        InstanceLabelsFactory(instance=SessionFactory().instance, labels={"env": "prod"})
    fan_out_id = uuid.uuid4()
    order = Order(kind="ping", reason="r")

    outcomes = at_once(
        lambda: fan_out_to(Aim.by_selector(parse("env=prod")), order, actor=ACTOR, fan_out_id=fan_out_id)
    )

    assert sum(isinstance(outcome, FanOutGiven) for outcome in outcomes) == CALLERS - 1
    assert (FanOut.objects.get().pk, FanOutTarget.objects.count(), Command.objects.count()) == (fan_out_id, 3, 3)


def test_a_name_that_is_given_twice_at_once_is_given_once():
    outcomes = at_once(lambda: create_group(name="canary", selector="env=prod", actor=ACTOR))

    assert sum(isinstance(outcome, GroupNameTaken) for outcome in outcomes) == CALLERS - 1
    assert Group.objects.count() == 1


def test_an_order_goes_to_the_others_where_one_is_removed_at_that_moment(monkeypatch):
    first, gone = (InstanceLabelsFactory(instance=SessionFactory().instance, labels={"env": "prod"}) for _ in range(2))
    removals = []

    def removing(*arguments):
        if not removals:
            removals.append(threading.Thread(target=remove))
            removals[0].start()
            removals[0].join()
        return insert_all(*arguments)

    def remove():
        Instance.objects.get(pk=gone.instance_id).delete()
        connections.close_all()

    monkeypatch.setattr(commands, "insert_all", removing)

    done = fan_out_to(Aim.by_selector(parse("env=prod")), Order(kind="ping", reason="r"), actor=ACTOR)

    assert [target.instance.pk for target in done.targets] == [first.instance_id]
    kept = FanOut.objects.get()
    assert (kept.dispatched + kept.queued + kept.skipped, FanOutTarget.objects.count()) == (1, 1)
