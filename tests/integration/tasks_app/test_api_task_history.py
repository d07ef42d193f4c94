"""The history of one task: GET .../tasks/{task}/events."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import CommandFactory, EventFactory, InstanceFactory, TaskFactory
from tests.integration.api_client import api_as, service_path

pytestmark = pytest.mark.django_db
DEV = {"environment": "dev"}


@pytest.fixture
def api():
    return api_as("viewer")


@pytest.fixture
def instance():
    row = InstanceFactory(online=True)
    TaskFactory(service=row.service, name="pay", source_name="every minute")
    return row


def history_of(api, instance, query=None, task="pay"):
    response = api.get(service_path(instance.service, f"/tasks/{task}/events"), DEV | (query or {}))
    assert response.status_code == 200
    return response.json()


def command_about(instance, task="pay", **fields):
    return CommandFactory(
        instance=instance, task_name=task, args={"task_name": task}, **{"kind": "pause_task"} | fields
    )


def ago(**kwargs):
    return timezone.now().replace(microsecond=0) - timedelta(**kwargs)


def test_events_and_commands_are_merged_newest_first(api, instance):
    command_about(
        instance, created_at=ago(minutes=9), finished_at=ago(minutes=2), status="succeeded", kind="resume_task"
    )
    command_about(instance, created_at=ago(minutes=5))
    EventFactory(instance=instance, task_name="pay", kind="task.failed", occurred_at=ago(minutes=3))
    EventFactory(instance=instance, task_name="pay", kind="task.started", occurred_at=ago(minutes=1))
    EventFactory(instance=instance, task_name="other")
    command_about(instance, task="other")
    EventFactory(instance=instance, task_name="pay", kind="command.queued")

    body = history_of(api, instance)

    assert [item["kind"] for item in body["items"]] == ["started", "resume_task", "failed", "pause_task"]
    assert (body["total"], body["limit"], body["offset"], body["lookback_minutes"]) == (4, 20, 0, 15)


def test_an_event_of_the_runtime(api, instance):
    event = EventFactory(
        instance=instance, task_name="pay", kind="task.failed", level="error", occurred_at=ago(minutes=1), attempts=2,
        duration_ms=7, failure_kind="error", exception_type="ValueError", message="boom", traceback="at line 1",
        meta={"source": "every minute"},
    )  # fmt: skip

    assert history_of(api, instance)["items"] == [
        {
            "id": f"runtime:{event.event_id}",
            "source_type": "runtime",
            "instance_id": str(instance.pk),
            "task_name": "pay",
            "kind": "failed",
            "occurred_at": event.occurred_at.isoformat(),
            "level": "error",
            "message": "boom",
            "meta": {"source": "every minute"},
            "attempts": 2,
            "duration_ms": 7,
            "failure_kind": "error",
            "exception_type": "ValueError",
            "traceback": "at line 1",
            "source_label": "every minute",
            "command_id": None,
            "command_status": None,
            "ack_status": None,
            "created_at": event.received_at.isoformat(),
            "updated_at": None,
        }
    ]


def test_a_command(api, instance):
    command = command_about(
        instance, status="failed", ack_status="accepted", created_at=ago(minutes=3), finished_at=ago(minutes=1),
        created_by_name="ann", reason="too hot", error_message="not now", result={"a": 1},
        source_surface="task_detail",
    )  # fmt: skip

    assert history_of(api, instance)["items"] == [
        {
            "id": f"command:{command.public_id}",
            "source_type": "command",
            "instance_id": str(instance.pk),
            "task_name": "pay",
            "kind": "pause_task",
            "occurred_at": command.finished_at.isoformat(),
            "level": "error",
            "message": "not now",
            "meta": {
                "status": "failed",
                "args": {"task_name": "pay"},
                "source_surface": "task_detail",
                "created_by": "ann",
                "reason": "too hot",
                "result": {"a": 1},
            },
            "attempts": None,
            "duration_ms": None,
            "failure_kind": None,
            "exception_type": None,
            "traceback": None,
            "source_label": None,
            "command_id": command.public_id,
            "command_status": "failed",
            "ack_status": "accepted",
            "created_at": command.created_at.isoformat(),
            "updated_at": command.updated_at.isoformat(),
        }
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"error_message": "no", "reason": "why"}, ("no", "warn", "created_at")),
        ({"reason": "why", "dispatched_at": 4, "status": "dispatched"}, ("why", "warn", "dispatched_at")),
        ({"acked_at": 3, "status": "accepted"}, ("accepted", "warn", "acked_at")),
        ({"finished_at": 2, "status": "succeeded"}, ("succeeded", "info", "finished_at")),
        ({"finished_at": 2, "status": "expired"}, ("expired", "error", "finished_at")),
    ],
)
def test_what_a_command_says_in_each_state(api, instance, fields, said):
    # Minutes, since these are collected long before they are run.
    moments = {name: ago(minutes=value) for name, value in ({"created_at": 5} | fields).items() if name.endswith("_at")}
    command = command_about(instance, **fields | moments)

    (item,) = history_of(api, instance)["items"]

    message, level, moment = said
    expected = getattr(command, moment).isoformat()
    assert (item["message"], item["level"], item["occurred_at"]) == (message, level, expected)
    assert set(item["meta"]) == {"status", "args", "source_surface", *({"reason"} & set(fields))}


def test_kinds_may_be_repeated(api, instance):
    for kind in ("started", "failed", "succeeded"):
        EventFactory(instance=instance, task_name="pay", kind=f"task.{kind}")
    command_about(instance)
    command_about(instance, kind="restart_task")

    def kinds(*wanted):
        return sorted(item["kind"] for item in history_of(api, instance, {"kind": wanted})["items"])

    assert kinds("failed", "restart_task") == ["failed", "restart_task"]
    assert kinds("started") == ["started"]
    assert kinds("pause_task") == ["pause_task"]


def test_an_unknown_kind_is_refused(api, instance):
    response = api.get(service_path(instance.service, "/tasks/pay/events"), DEV | {"kind": ["failed", "fetched"]})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][:2] == ["query", "kind"]


def test_what_lies_outside_the_lookback_is_left_out(api, instance):
    EventFactory(instance=instance, task_name="pay", occurred_at=ago(minutes=16))
    command_about(instance, created_at=ago(minutes=20), finished_at=ago(minutes=16), status="succeeded")

    assert history_of(api, instance)["total"] == 0
    assert history_of(api, instance, {"lookback_minutes": 20})["total"] == 2


def test_pages_follow_each_other_without_gap(api, instance):
    for number in range(4):
        EventFactory(instance=instance, task_name="pay", occurred_at=ago(minutes=2 * number))
        command_about(instance, created_at=ago(minutes=2 * number + 1))

    pages = [history_of(api, instance, {"limit": 3, "offset": offset})["items"] for offset in (0, 3, 6, 9)]

    whole = history_of(api, instance)["items"]
    assert [len(page) for page in pages] == [3, 3, 2, 0]
    assert [item for page in pages for item in page] == whole


def test_an_unknown_task(api, instance):
    response = api.get(service_path(instance.service, "/tasks/ghost/events"), DEV)

    assert response.status_code == 404
    assert response.json() == {"detail": f"task ghost was not found for service {instance.service.name}/dev"}


@pytest.mark.parametrize("count", [1, 3])
def test_history_costs_the_same_for_many(api, instance, django_assert_num_queries, count):
    for _ in range(count):
        EventFactory(instance=instance, task_name="pay", kind="task.failed")
        command_about(instance)

    with django_assert_num_queries(10):
        body = history_of(api, instance)

    assert body["total"] == 2 * count
