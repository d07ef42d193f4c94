"""Labels on the console: the card, its form, and the list action."""

import re
from html import unescape

import pytest

from agents.history import changed_fields
from agents.models import Event, InstanceLabels
from agents.models.event import EventKind
from agents.services.labels import patch_operator_labels, set_operator_labels, store_agent_labels, store_tags
from controlplane.common.actors import SYSTEM
from tests.factories.agents import InstanceFactory, ServiceFactory
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db


def page_of(instance):
    return url("agents_instance_change", instance.pk)


def form_of(instance):
    return url("agents_instance_labels", instance.pk)


def card_of(response):
    return unescape(re.search(r'<section class="c-card" id="labels">.*?</section>', text_of(response), re.DOTALL)[0])


def operator_labels(instance):
    return InstanceLabels.objects.get(pk=instance.pk).operator


def test_card_shows_layers_and_what_they_cover():
    instance = InstanceFactory(service=ServiceFactory(name="shop"))
    store_agent_labels([(instance.pk, {"env": "<b>", "cpu": "8", "-": "x"})])
    store_tags([(instance.pk, ["env=test", "gpu"])])
    set_operator_labels(instance.pk, {"env": "prod"}, actor=SYSTEM)

    card = card_of(console_as("operator").get(page_of(instance)))

    assert re.findall(r"<s [^>]*><code>(.*?)</code></s>", card) == ["env=test", "env=<b>"]
    assert "portal/service=shop" in card
    assert "cannot be the key of a label" in card
    assert 'name="labels"' in card
    assert f"subject=agents.instance%3A{instance.pk}" in card


def test_viewers_see_no_form_and_may_not_post():
    instance = InstanceFactory()
    client = console_as("viewer")

    assert 'name="labels"' not in card_of(client.get(page_of(instance)))
    assert client.post(form_of(instance), {"labels": "a=b"}).status_code == 403
    assert not InstanceLabels.objects.exists()


def test_form_changes_what_differs_from_what_it_showed():
    instance = InstanceFactory()
    set_operator_labels(instance.pk, {"env": "test", "old": "", "same": " x "}, actor=SYSTEM)
    client = console_as("operator")
    shown = client.get(page_of(instance)).context["labels_form"].initial["shown"]
    patch_operator_labels(instance.pk, {"meanwhile": "1"}, actor=SYSTEM)

    answer = client.post(
        form_of(instance), {"shown": shown, "labels": 'env=prod\r\n\r\nsame=" x "\r\n组 = 支付\r\ngpu'}, follow=True
    )

    assert operator_labels(instance) == {"env": "prod", "same": " x ", "组": "支付", "gpu": "", "meanwhile": "1"}
    assert said(answer) == ["The labels were changed."]
    event = Event.objects.filter(kind=EventKind.OBJECT_CHANGED, actor=client.person.username).get()
    assert event.meta["before"] == {"labels.env": "test", "labels.old": ""}
    assert event.meta["after"] == {"labels.env": "prod", "labels.gpu": "", "labels.组": "支付"}


def test_history_tells_labels_by_their_keys():
    instance = InstanceFactory()
    set_operator_labels(instance.pk, {"cpu_cores": "8", "gpu": ""}, actor=SYSTEM)

    fields = changed_fields(Event.objects.get(kind=EventKind.OBJECT_CHANGED))

    assert {(field.name, field.before, field.after) for field in fields} == {
        ("Operator label cpu_cores", "–", "8"),
        ("Operator label gpu", "–", '""'),
    }


def test_wrong_lines_are_told_one_by_one_and_stay():
    instance = InstanceFactory()

    answer = console_as("operator").post(
        form_of(instance), {"labels": 'env=prod\n-=x\nenv=test\nportal/os=x\nq="x', "shown": ""}
    )

    assert answer.status_code == 422
    assert [error.partition(":")[0] for error in answer.context["labels_form"].errors["labels"]] == [
        "Line 2",
        "Line 3",
        "Line 4",
        "Line 5",
    ]
    assert "portal/os=x" in card_of(answer)
    assert not InstanceLabels.objects.exists()


def test_too_many_lines_are_refused():
    instance = InstanceFactory()

    answer = console_as("operator").post(form_of(instance), {"labels": "\n".join(f"k{n}=" for n in range(65))})

    assert answer.status_code == 422
    assert "64 labels at most" in answer.context["labels_form"].errors["labels"][0]


def selecting(instances, **data):
    return {"action": "set_labels", "_selected_action": [str(row.pk) for row in instances], **data}


def test_action_asks_and_changes_what_was_selected():
    instances = [InstanceFactory() for _ in range(3)]
    set_operator_labels(instances[0].pk, {"old": "", "env": "prod"}, actor=SYSTEM)
    client = console_as("operator")
    where = url("agents_instance_changelist")

    asked = client.post(where, selecting(instances[:2]))
    done = client.post(where, selecting(instances[:2], confirm="1", given="env=prod", removed="old\n"), follow=True)

    assert [field.name for field in asked.context["form"]] == ["given", "removed"]
    assert all(str(row.pk) in text_of(asked) for row in instances[:2])
    assert said(done) == ["The labels of 2 instances were changed."]
    assert [operator_labels(row) for row in instances[:2]] == [{"env": "prod"}] * 2
    assert not InstanceLabels.objects.filter(pk=instances[2].pk).exists()


def test_action_takes_all_that_the_filters_leave():
    dev, prod = InstanceFactory(), InstanceFactory(service=ServiceFactory(environment="prod"))
    client = console_as("operator")
    where = f"{url('agents_instance_changelist')}?service__environment=dev"

    asked = client.post(where, selecting([dev], select_across="1"))
    client.post(where, selecting([dev], select_across="1", confirm="1", given="a=1"))

    assert asked.context["select_across"] == "1"
    assert operator_labels(dev) == {"a": "1"}
    assert not InstanceLabels.objects.filter(pk=prod.pk).exists()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "__all__"),
        ({"given": "-=x"}, "given"),
        ({"given": "a=1", "removed": "a"}, "removed"),
    ],
)
def test_action_tells_what_is_wrong(data, field):
    instance = InstanceFactory()

    answer = console_as("operator").post(url("agents_instance_changelist"), selecting([instance], confirm="1", **data))

    assert list(answer.context["form"].errors) == [field]
    assert not InstanceLabels.objects.filter(pk=instance.pk).exclude(operator={}).exists()


def test_viewers_are_not_offered_the_action():
    instance = InstanceFactory()
    client = console_as("viewer")

    client.post(url("agents_instance_changelist"), selecting([instance], confirm="1", given="a=1"))

    assert not InstanceLabels.objects.exists()
