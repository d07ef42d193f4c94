"""Which orders can never be right. Source: contract 3.1."""

import pytest
import requests

from tests.e2e.contract.orders import Orders
from tests.e2e.contract.stage import KINDS, TASK_KINDS, Stage
from tests.e2e.harness.api import Api

NOBODY = "00000000-0000-4000-8000-000000000000"
SOMEBODY = "11111111-1111-4111-8111-111111111111"
FREE_KINDS = KINDS[:4]
NEED_REASON = KINDS[4:]
TASK = {"task_name": "charge"}
FAN_OUT: dict[str, object] = {"kind": "ping", "reason": "r", "target_mode": "all_online"}
TASK_FAN_OUT = FAN_OUT | {"kind": "pause_task"}
SELECTED: dict[str, object] = {"target_mode": "selected_instances", "target_instance_ids": [NOBODY]}


def _problem(answer: requests.Response) -> tuple[int, str]:
    """The status, and the field that is wrong."""
    detail = answer.json()["detail"]
    return answer.status_code, ".".join(detail[0]["loc"]) if isinstance(detail, list) else detail


def _instance_order(api: Api, **body) -> tuple[int, str]:
    return _problem(api.post(f"/api/v1/instances/{NOBODY}/commands", body))


# An order that could be right is for an instance that nobody knows.
MAY_BE = (404, f"instance {NOBODY} was not found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "dance"}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": ["ping"]}, "kind"),
        ({"kind": "ping", "args": []}, "args"),
        ({"kind": "ping", "args": None}, "args"),
        ({"kind": "ping", "args": {"a": "\0"}}, "args"),
        ({"kind": "ping", "args": {"a": 2**70}}, "args"),
        ({"kind": "ping", "timeout_s": 0}, "timeout_s"),
        ({"kind": "ping", "timeout_s": 1.5}, "timeout_s"),
        ({"kind": "ping", "timeout_s": "10"}, "timeout_s"),
        ({"kind": "ping", "timeout_s": True}, "timeout_s"),
        ({"kind": "ping", "timeout_s": 10**12}, "timeout_s"),
        ({"kind": "ping", "delivery_mode": "soon"}, "delivery_mode"),
        ({"kind": "ping", "reason": "x" * 2001}, "reason"),
        ({"kind": "ping", "reason": 5}, "reason"),
        ({"kind": "ping", "surprise": 1}, "surprise"),
    ],
)
def test_fields_of_an_order(api: Api, body, field: str) -> None:
    assert _instance_order(api, **body) == (422, f"body.{field}")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"ping"', b'{"kind": NaN}', b"\xff\xfe"])
def test_body_that_is_no_object(api: Api, raw: bytes) -> None:
    answer = api.post_raw(f"/api/v1/instances/{NOBODY}/commands", raw)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("kind", NEED_REASON)
@pytest.mark.parametrize("reason", [{}, {"reason": None}, {"reason": ""}, {"reason": " \n "}])
def test_reason_is_required(api: Api, kind: str, reason) -> None:
    assert _instance_order(api, kind=kind, args=TASK, **reason) == (422, "body.reason")


@pytest.mark.parametrize("kind", FREE_KINDS)
@pytest.mark.parametrize("reason", [{}, {"reason": None}, {"reason": " "}])
def test_reason_may_be_left_out(api: Api, kind: str, reason) -> None:
    assert _instance_order(api, kind=kind, **reason) == MAY_BE


@pytest.mark.parametrize("kind", TASK_KINDS)
@pytest.mark.parametrize("args", [{}, {"task_name": ""}, {"task_name": "  "}, {"task_name": 5}, {"task_name": None}])
def test_task_kinds_need_a_task(api: Api, kind: str, args) -> None:
    assert _instance_order(api, kind=kind, reason="r", args=args) == (422, "body.args.task_name")


@pytest.mark.parametrize("kind", ["discard_dead_letters", "replay_dead_letters"])
@pytest.mark.parametrize("limit", [0, -1, 1.5, "10", None, True])
def test_limit_of_dead_letters_is_positive(api: Api, kind: str, limit) -> None:
    assert _instance_order(api, kind=kind, reason="r", args=TASK | {"limit": limit}) == (422, "body.args.limit")


@pytest.mark.parametrize("kind", ["discard_dead_letters", "replay_dead_letters"])
@pytest.mark.parametrize("limit", [{}, {"limit": 1}, {"limit": 1000}])
def test_limit_of_dead_letters_may_be_left_out(api: Api, kind: str, limit) -> None:
    assert _instance_order(api, kind=kind, reason="r", args=TASK | limit) == MAY_BE


@pytest.mark.parametrize("payload", [[], "x", 1, None])
def test_payload_of_a_manual_run_is_an_object(api: Api, payload) -> None:
    args = TASK | {"payload": payload}

    assert _instance_order(api, kind="run_task_once", reason="r", args=args) == (422, "body.args.payload")


@pytest.mark.parametrize("kind", NEED_REASON)
def test_what_acts_on_the_moment_cannot_wait(api: Api, kind: str) -> None:
    found = _instance_order(api, kind=kind, reason="r", args=TASK, delivery_mode="queue_until_reconnect")

    assert found == (422, "body.delivery_mode")


@pytest.mark.parametrize("kind", FREE_KINDS)
def test_what_is_as_right_later_may_wait(api: Api, kind: str) -> None:
    assert _instance_order(api, kind=kind, delivery_mode="queue_until_reconnect") == MAY_BE


def test_arguments_that_close_the_socket_of_a_client(api: Api) -> None:
    assert _instance_order(api, kind="ping", args={"a": "x" * 900_000}) == (422, "body.args")


def test_body_beyond_all_bounds(api: Api) -> None:
    answer = api.post(f"/api/v1/instances/{NOBODY}/commands", {"kind": "ping", "args": {"a": "x" * 2**21}})

    assert (answer.status_code, answer.json()) == (413, {"detail": "request body is too large"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "shutdown"}, "kind"),
        ({"reason": None}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 2001}, "reason"),
        ({"target_mode": None}, "target_mode"),
        ({"target_mode": "everybody"}, "target_mode"),
        ({"target_mode": "selected_instances"}, "target_instance_ids"),
        ({"target_instance_ids": [NOBODY]}, "target_instance_ids"),
        (SELECTED | {"target_instance_ids": [NOBODY, NOBODY]}, "target_instance_ids"),
        (SELECTED | {"target_instance_ids": NOBODY}, "target_instance_ids"),
        ({"offline_behavior": "wait"}, "offline_behavior"),
        ({"kind": "drain", "offline_behavior": "queue"}, "offline_behavior"),
        ({"kind": "restart_task", "args": TASK, "offline_behavior": "queue"}, "offline_behavior"),
        ({"kind": "pause_task"}, "args.task_name"),
        ({"delivery_mode": "dispatch_now_only"}, "delivery_mode"),
    ],
)
def test_fields_of_a_fan_out(orders: Orders, changes, field: str) -> None:
    assert _problem(orders.view.order(FAN_OUT | changes)) == (422, f"body.{field}")


@pytest.mark.parametrize("missing", ["kind", "reason", "target_mode"])
def test_fan_out_needs(orders: Orders, missing: str) -> None:
    body = {name: value for name, value in FAN_OUT.items() if name != missing}

    assert _problem(orders.view.order(body)) == (422, f"body.{missing}")


def test_malformed_target(orders: Orders) -> None:
    answer = orders.view.order(FAN_OUT | SELECTED | {"target_instance_ids": [NOBODY, "me"]})

    assert answer.json()["detail"][0]["loc"] == ["body", "target_instance_ids", 1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "ping"}, "kind"),
        ({"kind": "drain"}, "kind"),
        ({"args": {"task_name": "hold"}}, "args.task_name"),
        ({"args": {"task_name": "charge"}}, "args.task_name"),
        ({"offline_behavior": "queue"}, "offline_behavior"),
        ({"kind": "run_task_once"}, "target_mode"),
        ({"kind": "run_task_once", "args": {"payload": []}} | SELECTED, "args.payload"),
        ({"kind": "replay_dead_letters", "args": {"limit": 0}}, "args.limit"),
    ],
)
def test_fields_of_a_task_fan_out(orders: Orders, changes, field: str) -> None:
    assert _problem(orders.view.order(TASK_FAN_OUT | changes, task="charge")) == (422, f"body.{field}")


def test_unknown_target_spoils_the_whole_order(stage: Stage) -> None:
    actor = stage.enter("spoiled")
    targets = {"target_mode": "selected_instances", "target_instance_ids": [actor.instance_id, SOMEBODY]}

    answer = actor.view.order(FAN_OUT | targets)

    detail = f"instance {SOMEBODY} was not found for service spoiled/dev"
    assert (answer.status_code, answer.json()) == (404, {"detail": detail})
    assert actor.view.get("/commands")["total"] == 0


def test_fan_out_for_an_unknown_task(orders: Orders) -> None:
    answer = orders.view.order(TASK_FAN_OUT, task="nothing")

    detail = "task nothing was not found for service orders/prod"
    assert (answer.status_code, answer.json()) == (404, {"detail": detail})
