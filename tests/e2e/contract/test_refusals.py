"""What is refused, in which words, and in which order. Source: contract 0, 3.6, 4.1, Annex A."""

import uuid

import pytest
import requests

from tests.e2e.contract.orders import Orders
from tests.e2e.contract.stage import PASSWORD, ContractPortal, Stage
from tests.e2e.harness.api import Api

S = "/api/v1/services/orders"
NOBODY = "00000000-0000-4000-8000-000000000000"
PAGED = ("", "/tasks", "/instances", "/metric-windows", "/events", "/commands", "/sessions")
OF_SERVICE = (
    "", "/dashboard", "/tasks", "/tasks/charge", "/tasks/charge/events", "/instances", f"/instances/{NOBODY}",
    "/metric-windows", "/events", "/commands", "/sessions",
)  # fmt: skip
PATHS = (
    "/api/v1/services",
    "/api/v1/events",
    f"/api/v1/instances/{NOBODY}/commands",
    *(S + rest for rest in OF_SERVICE),
)
PING = {"kind": "ping"}
FAN_OUT = {"kind": "ping", "reason": "r", "target_mode": "all_online"}


def _problem(answer: requests.Response) -> tuple[int, str, list[str]]:
    """Status, type and place of the only problem."""
    [problem] = answer.json()["detail"]
    assert {"type", "loc", "msg", "input"} == set(problem)
    return answer.status_code, problem["type"], problem["loc"]


def _told(answer: requests.Response) -> tuple[int, object]:
    assert set(answer.json()) == {"detail"}
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_told_to_log_in_before_anything_else(portal: ContractPortal, path: str) -> None:
    # The query cannot be right either.
    answer = requests.get(f"{portal.urls[0]}{path}", params={"environment": "moon", "limit": "x"}, timeout=60)

    assert _told(answer) == (401, "authentication required")


@pytest.mark.parametrize(
    "path", [f"/api/v1/instances/{NOBODY}/commands", f"{S}/commands", f"{S}/tasks/charge/commands"]
)
def test_nobody_orders_anything(portal: ContractPortal, path: str) -> None:
    answer = requests.post(f"{portal.urls[0]}{path}", json={"kind": "nonsense"}, timeout=60)

    assert _told(answer) == (401, "authentication required")


@pytest.mark.parametrize("rest", OF_SERVICE)
@pytest.mark.parametrize(("query", "kind"), [({}, "missing"), ({"environment": "moon"}, "enum")])
def test_environment_is_required_below_a_service(api: Api, rest: str, query, kind: str) -> None:
    assert _problem(api.ask(S + rest, **query)) == (422, kind, ["query", "environment"])


@pytest.mark.parametrize("rest", OF_SERVICE)
def test_unknown_service(api: Api, rest: str) -> None:
    answer = api.ask(S.replace("orders", "nowhere") + rest, environment="prod")

    assert _told(answer) == (404, "service nowhere/prod was not found")


def test_service_of_another_environment_is_another_service(api: Api, orders: Orders) -> None:
    assert _told(api.ask(S, environment="staging")) == (404, "service orders/staging was not found")


@pytest.mark.parametrize("rest", ["", "/events"])
def test_unknown_task(orders: Orders, rest: str) -> None:
    answer = orders.view.ask(f"/tasks/nothing{rest}")

    assert _told(answer) == (404, "task nothing was not found for service orders/prod")


def test_unknown_instance_of_a_service(orders: Orders) -> None:
    elsewhere = orders.elsewhere[0].instance_id

    answers = [orders.view.ask(f"/instances/{instance_id}") for instance_id in (NOBODY, elsewhere)]

    assert [_told(answer) for answer in answers] == [
        (404, f"instance {NOBODY} was not found for service orders/prod"),
        (404, f"instance {elsewhere} was not found for service orders/prod"),
    ]


def test_unknown_instance(api: Api) -> None:
    answers = [
        api.ask(f"/api/v1/instances/{NOBODY}/commands"),
        api.post(f"/api/v1/instances/{NOBODY}/commands", PING),
    ]

    assert [_told(answer) for answer in answers] == [(404, f"instance {NOBODY} was not found")] * 2


@pytest.mark.parametrize("rest", ["/instances/not-a-uuid", "/instances/not-a-uuid%00"])
def test_malformed_instance_in_the_path(orders: Orders, rest: str) -> None:
    assert _problem(orders.view.ask(rest)) == (422, "uuid_parsing", ["path", "instance_id"])


@pytest.mark.parametrize("path", ["/api/v1/services", "/api/v1/events", *(f"{S}{rest}" for rest in PAGED if rest)])
@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"limit": 0}, "greater_than_equal"),
        ({"limit": 201}, "less_than_equal"),
        ({"limit": "ten"}, "int_parsing"),
        ({"offset": -1}, "greater_than_equal"),
        ({"offset": "1e3"}, "int_parsing"),
        ({"offset": "9" * 40}, "int_parsing"),
    ],
)
def test_pages_out_of_range(api: Api, orders: Orders, path: str, query, kind: str) -> None:
    answer = api.ask(path, **({"environment": "prod"} | query))

    assert _problem(answer) == (422, kind, ["query", *query])


@pytest.mark.parametrize(
    ("rest", "query", "kind"),
    [
        ("/dashboard", {"recent_event_limit": 51}, "less_than_equal"),
        ("/dashboard", {"recent_event_limit": 0}, "greater_than_equal"),
        ("/dashboard", {"lookback_minutes": 0}, "greater_than_equal"),
        ("/tasks", {"lookback_minutes": 1441}, "less_than_equal"),
        ("/tasks/charge", {"lookback_minutes": "all"}, "int_parsing"),
        ("/tasks/charge", {"metric_window_limit": 101}, "less_than_equal"),
        ("/tasks/charge", {"event_limit": 0}, "greater_than_equal"),
        ("/tasks/charge/events", {"limit": 101}, "less_than_equal"),
        ("/instances", {"connectivity": "asleep"}, "enum"),
        ("/instances", {"status": "fine"}, "enum"),
        (f"/instances/{NOBODY}", {"metric_window_limit": 0}, "greater_than_equal"),
        (f"/instances/{NOBODY}", {"event_limit": 101}, "less_than_equal"),
        ("/metric-windows", {"instance_id": "me"}, "uuid_parsing"),
        ("/metric-windows", {"ended_after": "yesterday"}, "datetime_parsing"),
        ("/metric-windows", {"ended_before": "2026-13-01"}, "datetime_parsing"),
        ("/events", {"kind": "fetched"}, "enum"),
        ("/events", {"instance_id": "me"}, "uuid_parsing"),
        ("/events", {"occurred_after": "9" * 30}, "datetime_parsing"),
        ("/commands", {"kind": "dance"}, "enum"),
        ("/commands", {"status": "done"}, "enum"),
        ("/commands", {"instance_id": "me"}, "uuid_parsing"),
        ("/sessions", {"status": "open"}, "enum"),
        ("/sessions", {"instance_id": "me"}, "uuid_parsing"),
    ],
)
def test_query_that_cannot_be_right(orders: Orders, rest: str, query, kind: str) -> None:
    assert _problem(orders.view.ask(rest, **query)) == (422, kind, ["query", *query])


@pytest.mark.parametrize(
    ("path", "query", "kind"),
    [
        ("/api/v1/services", {"environment": "moon"}, "enum"),
        ("/api/v1/services", {"q": "x" * 256}, "string_too_long"),
        ("/api/v1/events", {"environment": "moon"}, "enum"),
        ("/api/v1/events", {"kind": "fetched"}, "enum"),
        ("/api/v1/events", {"occurred_before": "soon"}, "datetime_parsing"),
        (f"/api/v1/instances/{NOBODY}/commands", {"limit": 101}, "less_than_equal"),
    ],
)
def test_query_of_the_fleet_that_cannot_be_right(api: Api, path: str, query, kind: str) -> None:
    assert _problem(api.ask(path, **query)) == (422, kind, ["query", *query])


def test_one_wrong_kind_of_several_is_refused(orders: Orders) -> None:
    answer = orders.view.ask("/tasks/charge/events", kind=["failed", "dance"])

    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "enum")


@pytest.mark.parametrize("path", PATHS)
def test_text_that_no_database_holds(api: Api, path: str) -> None:
    answer = api.ask(path, environment="prod", task_name="a\0b")

    assert _problem(answer) == (422, "string_unstorable", ["query", "task_name"])


@pytest.mark.parametrize("path", PATHS)
def test_unknown_keys_of_a_query_are_ignored(api: Api, orders: Orders, path: str) -> None:
    assert api.ask(path, environment="prod", utm_source="mail").status_code in (200, 404)


@pytest.mark.parametrize(
    "path", ["/api", "/api/v1", "/api/v1/nothing", f"{S}/nothing", "/api/v2/services", "/api/v1/services/"]
)
@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_unknown_path_is_json_to_anybody(portal: ContractPortal, verb: str, path: str) -> None:
    answer = requests.request(verb, f"{portal.urls[0]}{path}", timeout=60, allow_redirects=False)

    assert _told(answer) == (404, "not found")
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE"])
def test_unsupported_verb_is_an_unknown_path(portal: ContractPortal, verb: str, path: str) -> None:
    answer = requests.request(verb, f"{portal.urls[0]}{path}", timeout=60)

    assert _told(answer) == (404, "not found")


@pytest.mark.parametrize(
    ("role", "body", "status"),
    [
        # Wrong for everybody: told before the role.
        ("viewer", {"kind": "dance"}, 422),
        # The role is told before the instance, which does not exist.
        ("viewer", PING, 403),
        ("operator", {"kind": "drain", "reason": "r"}, 403),
        ("operator", PING, 404),
        ("admin", {"kind": "drain", "reason": "r"}, 404),
    ],
)
def test_order_of_checks(portal: ContractPortal, role: str, body, status: int) -> None:
    assert portal.api_as(role).post(f"/api/v1/instances/{NOBODY}/commands", body).status_code == status


@pytest.mark.parametrize(
    ("role", "kind", "detail"),
    [
        ("viewer", "ping", "insufficient role for command execution"),
        ("viewer", "restart", "insufficient role for command execution"),
        ("operator", "restart", "admin role required for destructive commands"),
        ("operator", "drain", "admin role required for destructive commands"),
        ("operator", "shutdown", "admin role required for destructive commands"),
    ],
)
def test_role_that_does_not_suffice(portal: ContractPortal, role: str, kind: str, detail: str) -> None:
    answer = portal.api_as(role).post(f"/api/v1/instances/{NOBODY}/commands", {"kind": kind, "reason": "r"})

    assert _told(answer) == (403, detail)


@pytest.mark.parametrize("task", [None, "charge"])
def test_role_is_told_before_an_unknown_service(portal: ContractPortal, task: str | None) -> None:
    path = f"/api/v1/services/nowhere{'' if task is None else '/tasks/charge'}/commands"
    body = FAN_OUT if task is None else FAN_OUT | {"kind": "pause_task"}

    answers = [portal.api_as(role).post(path, body, environment="dev") for role in ("viewer", "operator")]

    assert [answer.status_code for answer in answers] == [403, 404]


def test_missing_instance_is_told_before_a_conflict(portal: ContractPortal, stage: Stage) -> None:
    actor = stage.enter("incapable", commands=("ping",))
    body = {"kind": "sync_now"}

    answers = [
        portal.api_as("operator").post(f"/api/v1/instances/{instance_id}/commands", body)
        for instance_id in (NOBODY, actor.instance_id)
    ]

    assert [answer.status_code for answer in answers] == [404, 409]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
@pytest.mark.parametrize("path", PATHS)
def test_every_role_reads(portal: ContractPortal, orders: Orders, role: str, path: str) -> None:
    expected = 404 if NOBODY in path else 200

    assert portal.api_as(role).ask(path, environment="prod").status_code == expected


def test_command_of_a_person_is_theirs(portal: ContractPortal, stage: Stage) -> None:
    actor = stage.enter("personal")
    with requests.Session() as browser:
        login = browser.post(
            f"{portal.urls[0]}/api/v1/auth/login",
            json={"username": "contract-operator", "password": PASSWORD},
            timeout=60,
        )
        order = browser.post(f"{portal.urls[0]}/api/v1/instances/{actor.instance_id}/commands", json=PING, timeout=60)

    assert (login.status_code, login.json()["role"]) == (200, "operator")
    assert (order.status_code, order.json()["created_by"]) == (200, "contract-operator")
    assert uuid.UUID(order.json()["command_id"].removeprefix("cmd_"))
