"""A fan-out that goes on: how its targets stand, who gets it again, what is cancelled, and how it is found again."""

import csv
import io
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agents.models import BackgroundJob, Command, Event, FanOut, FanOutTarget, Instance, Removal
from agents.selectors.fan_outs import STATES, running, standing
from agents.selectors.underway import under_way
from tests.factories import (
    BackgroundJobFactory,
    CommandFactory,
    FanOutFactory,
    InstanceFactory,
    ServiceFactory,
    SessionFactory,
)
from tests.integration.console import carried, console_as, said, text_of, url

pytestmark = pytest.mark.django_db
SEND = reverse("fan_out_send")


def fan_out_with(*states, **fields):
    """A fan-out with a target in each of these states."""
    fan_out = FanOutFactory(dispatched=len(states), **fields)
    for state in states:
        instance = InstanceFactory(online=True)
        command = None
        if state not in {"skipped", "refused"}:
            command = CommandFactory(instance=instance, status="succeeded" if state == "gone" else state)
        FanOutTarget.objects.create(
            fan_out=fan_out,
            instance=instance,
            outcome={"skipped": "skipped", "refused": "rejected"}.get(state, "dispatched"),
            reason_code={"skipped": "no_active_session", "refused": "missing_capability"}.get(state, ""),
            command=command,
        )
        if state == "gone":
            Command.objects.filter(pk=command.pk).delete()
    return fan_out


def page_of(fan_out, client=None, view="change", **query):
    return (client or console_as("operator")).get(url(f"agents_fanout_{view}", fan_out.pk), query)


EACH = (*(state for state in STATES if state != "skipped"), "refused", "skipped")


def test_each_target_stands_in_one_state():
    fan_out = fan_out_with(*EACH)

    page = page_of(fan_out)

    expected = dict.fromkeys(STATES, 1) | {"rejected": 2}
    assert dict(page.context["states"]) == expected
    assert sorted(row.state for row in page.context["rows"]) == sorted(
        "rejected" if state == "refused" else state for state in EACH
    )


@pytest.mark.parametrize("shown", ["", "open", "failed", "done", *STATES])
def test_what_is_counted_is_what_is_listed(shown):
    fan_out = fan_out_with(*EACH, "timeout")

    page = page_of(fan_out, show=shown)

    assert page.context["targets"].paginator.count == len(page.context["rows"]) > 0


def test_a_row_tells_since_when_why_and_what_came_of_it():
    fan_out = fan_out_with("succeeded", "failed", "skipped", "dispatched")
    Command.objects.filter(status="succeeded").update(result={"pong": "x" * 500}, duration_ms=42)
    Command.objects.filter(status="failed").update(error_code="boom", error_message="It broke.")

    rows = {row.state: row for row in page_of(fan_out).context["rows"]}

    assert rows["succeeded"].duration_ms == 42
    assert rows["succeeded"].result.startswith('{"pong": "xxx')
    assert rows["succeeded"].result.endswith("…")
    assert len(rows["succeeded"].result) == 161
    assert (rows["failed"].why, rows["failed"].code) == ("It broke.", "boom")
    assert rows["failed"].since == Command.objects.get(status="failed").updated_at
    assert rows["skipped"].why == "There is no active control session for this instance."
    assert rows["skipped"].since == fan_out.created_at
    assert rows["dispatched"].why == "It was sent; the agent has not confirmed it yet."


def test_large_results_are_cut_by_the_database():
    fan_out = fan_out_with("succeeded")
    Command.objects.update(result={"log": "y" * 100_000})

    with CaptureQueriesContext(connection) as queries:
        page = page_of(fan_out, view="live")

    assert len(text_of(page)) < 20_000
    assert not any('"agents_command"."result",' in query["sql"] for query in queries.captured_queries)


def test_it_is_given_again_where_it_failed_in_the_way_that_was_chosen():
    fan_out = fan_out_with("failed", "failed", "timeout", "expired", "skipped", "succeeded", "pending")
    client = console_as("operator")

    page = page_of(fan_out, client)
    choices = {state: (count, link) for state, count, link in page.context["retry_choices"]}
    every, failed, two = (
        client.get(link)
        for link in (
            page.context["retry_url"],
            choices["failed"][1],
            f"{SEND}?retry={fan_out.pk}&only=timeout&only=expired",
        )
    )

    assert {state: count for state, (count, _link) in choices.items()} == {
        "failed": 2,
        "timeout": 1,
        "expired": 1,
        "skipped": 1,
    }
    assert [each.context["reach"].matching for each in (every, failed, two)] == [5, 2, 2]
    client.post(SEND, carried(failed))
    again = FanOut.objects.get(retry_of=fan_out)
    assert {target.instance for target in again.targets.all()} == set(
        Instance.objects.filter(commands__status="failed")
    )


def test_only_what_failed_is_a_choice():
    fan_out = fan_out_with("failed", "succeeded")

    page = console_as("operator").get(f"{SEND}?retry={fan_out.pk}&only=succeeded", follow=True)

    assert "is no state in which a command is given again" in said(page)[0]


def test_what_waits_is_cancelled_and_told():
    fan_out, other = fan_out_with("pending", "pending", "dispatched", "succeeded"), fan_out_with("pending")
    client = console_as("operator")
    assert "Cancel the 2 that were not sent yet" in text_of(page_of(fan_out, client))

    answer = client.post(url("agents_fanout_cancel", fan_out.pk), follow=True)
    again = client.post(url("agents_fanout_cancel", fan_out.pk), follow=True)

    assert said(answer) == ["2 commands cancelled."]
    assert said(again) == ["Nothing was left to cancel: all commands have been sent."]
    assert standing(fan_out).states == {"cancelled": 2, "dispatched": 1, "succeeded": 1}
    assert standing(other).states == {"pending": 1}
    told = Event.objects.filter(kind="command.cancelled")
    assert [event.actor for event in told] == [client.person.username] * 2


def test_cancelling_takes_as_many_statements_for_many_as_for_few():
    client = console_as("operator")
    counts = []
    for number in (1, 1, 30):
        fan_out = fan_out_with(*["pending"] * number)
        with CaptureQueriesContext(connection) as queries:
            client.post(url("agents_fanout_cancel", fan_out.pk))
        counts.append(len(queries))

    assert counts[1] == counts[2]


def test_viewers_cancel_nothing():
    fan_out = fan_out_with("pending")
    viewer = console_as("viewer")

    assert viewer.post(url("agents_fanout_cancel", fan_out.pk)).status_code == 403
    assert viewer.get(url("agents_fanout_cancel", fan_out.pk)).status_code == 405
    assert "Cancel the" not in text_of(page_of(fan_out, viewer))


def test_the_file_has_every_target_and_no_formula():
    fan_out = fan_out_with("succeeded", "failed", "skipped")
    Command.objects.filter(status="failed").update(error_code="boom", error_message="=cmd()")
    InstanceFactory()

    answer = page_of(fan_out, console_as("viewer"), "export")

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert f"{fan_out.public_id}.csv" in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["state"] for row in rows] == ["succeeded", "failed", "skipped"]
    assert [row["why"] for row in rows] == ["", "'=cmd()", "There is no active control session for this instance."]
    assert rows[0]["command_id"] == Command.objects.get(status="succeeded").public_id
    assert rows[2]["command_id"] == ""


def test_running_ones_are_found_again():
    going, over = fan_out_with("succeeded", "accepted"), fan_out_with("failed")
    client = console_as("viewer")

    def rows(**query):
        return list(client.get(url("agents_fanout_changelist"), query).context["cl"].result_list)

    assert rows(running="yes") == [going]
    assert rows(running="no") == [over]
    assert set(rows()) == {going, over}
    assert text_of(client.get(url("agents_fanout_changelist"))).count('data-state="running"') == 1
    assert list(running()) == [going]


def test_what_is_under_way_is_told_with_how_far_it_is(django_assert_num_queries):
    going = fan_out_with("succeeded", "failed", "pending", "accepted")
    fan_out_with("failed")
    removal = Removal.objects.create(
        kind="instance", target_id="1", name="n", environment="dev", requested_at=timezone.now(), removed={"event": 7}
    )
    Removal.objects.create(
        kind="instance",
        target_id="2",
        name="n",
        environment="dev",
        requested_at=timezone.now(),
        finished_at=timezone.now(),
    )
    now = timezone.now()
    long = BackgroundJobFactory(
        last_started_at=now - timezone.timedelta(seconds=60), running_until=now + timezone.timedelta(seconds=60)
    )
    BackgroundJobFactory(last_started_at=now, running_until=now + timezone.timedelta(seconds=60))

    with django_assert_num_queries(4):
        found = under_way(now)

    (order,) = found.fan_outs
    assert (order.fan_out, order.total, order.done, order.failed, order.open) == (going, 4, 2, 1, 2)
    assert (found.removals, found.jobs) == ([removal], [long])
    assert not found.is_empty


def test_the_front_page_tells_what_is_under_way():
    client = console_as("viewer")
    InstanceFactory()
    assert "underway-title" not in text_of(client.get(reverse("home_live")))
    fan_out = fan_out_with("succeeded", "pending", service=ServiceFactory(name="billing"))

    text = text_of(client.get(reverse("home_live")))

    assert url("agents_fanout_change", fan_out.pk) in text
    assert '<progress class="s-progress" max="2" value="1"' in text
    assert "1 of 2 ended" in text


def test_a_removal_is_followed_to_its_end():
    removal = Removal.objects.create(
        kind="instance", target_id="1", name="n", environment="dev", requested_at=timezone.now(), removed={"event": 7}
    )
    client = console_as("viewer")

    page = text_of(client.get(url("agents_removal_change", removal.pk)))
    under = client.get(url("agents_removal_live", removal.pk))
    Removal.objects.update(finished_at=timezone.now())
    done = client.get(url("agents_removal_live", removal.pk))

    assert url("agents_removal_live", removal.pk) in page
    assert (under.status_code, done.status_code) == (200, 286)
    assert 'id="live-removal"' in text_of(done)
    assert url("agents_removal_live", removal.pk) not in text_of(client.get(url("agents_removal_change", removal.pk)))


def test_a_whole_list_is_ordered_at_once():
    instances = [SessionFactory(instance=InstanceFactory(online=True, node_name=f"n{n}")).instance for n in range(3)]
    client = console_as("admin")
    path = f"{url('agents_instance_changelist')}?q=n"
    chosen = {"action": "send_drain", "_selected_action": [instances[0].pk], "select_across": 1}

    page = client.post(path, chosen)
    fields = carried(page) | {"timeout_s": 10, "reason": "r"}
    client.post(path, fields)

    assert page.context["blast"].reach.matching == 3
    assert text_of(page).count('name="_selected_action"') == 1
    assert Command.objects.filter(kind="drain").count() == 3


def test_a_list_that_changed_meanwhile_is_shown_anew():
    SessionFactory(instance=InstanceFactory(online=True, node_name="n1"))
    client = console_as("operator")
    path = f"{url('agents_instance_changelist')}?q=n"
    chosen = {"action": "send_ping", "_selected_action": [Instance.objects.get().pk], "select_across": 1}
    fields = carried(client.post(path, chosen)) | {"timeout_s": 10}
    InstanceFactory(node_name="n2")

    answer = client.post(path, fields)

    assert "The fleet changed meanwhile" in text_of(answer)
    assert Command.objects.count() == 0


def test_a_second_click_in_a_list_sends_nothing_more():
    SessionFactory(instance=InstanceFactory(online=True))
    client = console_as("operator")
    path = url("agents_instance_changelist")
    page = client.post(path, {"action": "send_ping", "_selected_action": [Instance.objects.get().pk]})
    fields = carried(page) | {"timeout_s": 10}

    answers = [client.post(path, fields) for _ in range(2)]

    assert answers[0].url == answers[1].url == url("agents_fanout_change", FanOut.objects.get().pk)
    assert Command.objects.count() == 1


def test_the_live_part_reads_the_page_and_the_counts_alone():
    client = console_as("operator")
    counts = []
    for number in (1, 1, 60):
        fan_out = fan_out_with(*["pending"] * number)
        with CaptureQueriesContext(connection) as queries:
            page = page_of(fan_out, client, "live")
        counts.append(len(queries))
        assert len(page.context["rows"]) == min(number, 50)

    assert counts[1] == counts[2] <= 9
    assert re.search(r"1–50 / 60", text_of(page))
    assert BackgroundJob.objects.count() == 0


@pytest.mark.parametrize("service", ["9" * 19, "9" * 5000, "-1", "x"])
def test_what_is_no_key_of_a_service_is_none(service):
    answer = console_as("operator").get(SEND, {"service": service}, follow=True)
    assert "There is no such service." in said(answer)
