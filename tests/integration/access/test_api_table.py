"""Every route below /api is declared with a role, and the roles hold."""

import json
import uuid

import pytest
from django.urls import URLPattern, get_resolver

from controlplane.access.models import ApiToken
from controlplane.access.roles import Role, role_of
from controlplane.access.table import API_ROUTES, UNKNOWN_ROUTE, Door
from controlplane.common.rest.views import ApiView
from tests.factories import CommandFactory, SessionFactory
from tests.integration.api_client import Api, api_as, user_in

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Plain views with words and doors of their own.
REGISTRY = {route for route in API_ROUTES if route.lstrip("^").startswith("api/v1/master")}


def api_patterns(patterns=None, prefix=""):
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if route.lstrip("^").startswith("api"):
                yield route, pattern
        else:
            yield from api_patterns(pattern.url_patterns, route)


def offered_verbs(view):
    if issubclass(view, ApiView):
        return {verb for verb in VERBS if view.endpoint_of(verb)}
    return {verb for verb in VERBS if hasattr(view, verb.lower())}


def test_every_route_and_verb_below_api_is_declared_and_nothing_else():
    offered = {
        route: offered_verbs(pattern.callback.cls)
        for route, pattern in api_patterns()
        if hasattr(pattern.callback, "cls") and route != UNKNOWN_ROUTE
    }
    declared = {
        route: set(rules)
        for route, rules in API_ROUTES.items()
        if Door.AGENT not in rules.values() and route not in REGISTRY
    }

    assert offered == declared


def test_an_endpoint_asks_for_no_login_exactly_where_the_table_lets_anybody_in():
    asking_nobody = {
        (route, verb)
        for route, pattern in api_patterns()
        if issubclass(getattr(pattern.callback, "cls", object), ApiView)
        for verb in VERBS
        if (declared := pattern.callback.cls.endpoint_of(verb)) and declared.open_to_anybody
    }

    assert asking_nobody == {
        (route, verb)
        for route, rules in API_ROUTES.items()
        for verb, rule in rules.items()
        if rule is Door.ANYBODY and route not in REGISTRY
    }


def test_routes_that_are_no_rest_views_are_declared():
    plain = {route for route, pattern in api_patterns() if not hasattr(pattern.callback, "cls")}

    assert plain == REGISTRY | {route for route, rules in API_ROUTES.items() if Door.AGENT in rules.values()}


def test_no_view_below_api_goes_without_the_table():
    default = ApiView.permission_classes

    unguarded = {
        route
        for route, pattern in api_patterns()
        if hasattr(pattern.callback, "cls")
        and route != UNKNOWN_ROUTE
        and list(pattern.callback.cls.permission_classes) != list(default)
    }

    assert unguarded == set()


@pytest.mark.django_db
def test_undeclared_route_is_refused_even_to_admins(monkeypatch):
    monkeypatch.delitem(API_ROUTES, "api/v1/services")

    assert api_as("admin").get("services").status_code == 403


def calls():
    """One harmless call for each declared route and verb; names and ids are of nothing that exists."""
    values = {
        "<name:service_name>": "ghost",
        "<name:task_name>": "ghost",
        "<name:instance_id>": str(uuid.uuid4()),
        "<name:command_id>": f"cmd_{uuid.uuid4().hex}",
        "<name:event_id>": "999999999",
        "<name:fan_out_id>": f"fan_{uuid.uuid4().hex}",
        "<name:group_name>": "ghost",
        "<name:token_id>": "999999999",
        "<name:removal_id>": str(uuid.uuid4()),
        "<name:delivery_id>": str(uuid.uuid4()),
        "<name:channel_id>": "999999999",
        "<name:rule_id>": "999999999",
        "<name:alert_id>": "999999999",
        "<name:silence_id>": "999999999",
    }
    for route, rules in API_ROUTES.items():
        for verb, rule in rules.items():
            if isinstance(rule, Door):
                continue
            path = route
            for name, value in values.items():
                path = path.replace(name, value)
            yield pytest.param(path, verb, rule, id=f"{verb} {route}")


HOOK = "https://open.feishu.cn/open-apis/bot/v2/hook/x"
# By what a path ends with; the first that fits.
BODIES = {
    "instances/labels": {"instance_ids": [str(uuid.uuid4())], "set": {"rack": "7"}},
    "/labels": {"labels": {"rack": "7"}},
    "tokens": {"name": "new"},
    "forget": {"name": "ghost"},
    "fan-outs": {"kind": "ping", "reason": "why", "selector": "env"},
    "selectors/check": {"selector": "env"},
    "notifications/channels": {"name": "new", "provider": "feishu", "webhook_url": HOOK},
    "/enabled": {"enabled": False},
    "/test": {},
    "rules/replay": {"rule": {"event_types": ["task_failed"]}},
    "silences/replay": {"silence": {}},
    "/silences": {"reason": "why", "ends_at": "2099-01-01T00:00:00Z"},
}
# By what stands in it.
OTHER_BODIES = {
    "/groups": {"name": "new", "selector": "env"},
    "/rules": {"name": "new", "event_types": ["task_failed"]},
    "notifications/channels/": {"name": "new"},
    "instances/": {"kind": "ping"},
}


def body_for(path):
    path = path.partition("?")[0]
    for end, body in BODIES.items():
        if path.endswith(end):
            return body
    for part, body in OTHER_BODIES.items():
        if part in path:
            return body
    return {"kind": "restart_task" if "/tasks/" in path else "ping", "reason": "why", "target_mode": "all_online"}


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "verb", "least"), list(calls()))
@pytest.mark.parametrize("role", list(Role))
def test_roles_hold_on_every_route(path, verb, least, role):
    api = api_as(role)

    content = "" if verb == "GET" else json.dumps(body_for(path))
    response = api.client.generic(verb, f"/{path}?environment=dev", content, "application/json", headers=api.headers)

    if role.rank < least.rank:
        assert response.status_code == 403
        refused = (
            "insufficient role for command execution"
            if "command" in path or "fan-outs" in path
            else "insufficient role"
        )
        assert response.json() == {"detail": refused}
    else:
        assert response.status_code in {200, 201, 404}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "scope", "harmless", "destructive"),
    [
        ("viewer", "admin", 403, 403),
        ("operator", "read", 403, 403),
        ("operator", "command", 200, 403),
        ("operator", "admin", 200, 403),
        ("admin", "read", 403, 403),
        ("admin", "command", 200, 403),
        ("admin", "admin", 200, 200),
    ],
)
def test_scope_caps_the_role(role, scope, harmless, destructive):
    api = api_as(role, ApiToken.Scope(scope))
    path = f"instances/{SessionFactory().instance_id}/commands"

    assert api.post(path, {"kind": "ping"}).status_code == harmless
    assert api.post(path, {"kind": "restart", "reason": "why"}).status_code == destructive
    assert api.get(path).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["shutdown", "restart", "drain"])
def test_operator_may_not_stop_an_instance(kind):
    path = f"instances/{SessionFactory().instance_id}/commands"

    response = api_as("operator").post(path, {"kind": kind, "reason": "why"})

    assert (response.status_code, response.json()) == (
        403,
        {"detail": "admin role required for destructive commands"},
    )


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["restart", "drain"])
def test_operator_may_not_stop_a_service(kind):
    service = SessionFactory().instance.service
    body = {"kind": kind, "reason": "why", "target_mode": "all_online"}

    response = api_as("operator").post(f"services/{service.name}/commands", body, {"environment": "dev"})

    assert (response.status_code, response.json()) == (
        403,
        {"detail": "admin role required for destructive commands"},
    )


@pytest.mark.django_db
def test_viewer_may_not_cancel():
    command = CommandFactory()

    response = api_as("viewer").post(f"commands/{command.public_id}/cancel")

    assert response.json() == {"detail": "insufficient role for command execution"}
    command.refresh_from_db()
    assert command.status == "pending"


@pytest.mark.django_db
def test_wrong_body_is_told_before_a_wrong_role():
    response = api_as("viewer").post(f"instances/{uuid.uuid4()}/commands", {"kind": "no such"})

    assert response.status_code == 422


@pytest.mark.django_db
def test_wrong_role_is_told_before_a_missing_instance():
    response = api_as("viewer").post(f"instances/{uuid.uuid4()}/commands", {"kind": "ping"})

    assert response.status_code == 403


@pytest.mark.django_db
def test_missing_instance_is_told_before_a_conflict():
    instance_id = uuid.uuid4()

    response = api_as("operator").post(f"instances/{instance_id}/commands", {"kind": "ping"})

    assert (response.status_code, response.json()) == (404, {"detail": f"instance {instance_id} was not found"})


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/services"])
@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "options", "head", "trace"])
def test_unknown_path_is_not_found(path, verb):
    response = getattr(Api().client, verb)(path)

    assert response.status_code == 404
    if verb != "head":
        assert response.json() == {"detail": "not found"}


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["put", "patch", "delete", "options", "post"])
def test_unsupported_verb_is_not_found(verb):
    api = api_as("admin")

    response = getattr(api.client, verb)("/api/v1/services", headers=api.headers)

    assert (response.status_code, response.json()) == (404, {"detail": "not found"})


@pytest.mark.django_db
def test_trailing_slash_is_another_path():
    assert api_as("admin").get("services/").status_code == 404


@pytest.mark.django_db
def test_highest_group_counts():
    user = user_in("viewer")
    user.groups.add(*user_in("operator").groups.all())

    assert role_of(user) == Role.OPERATOR


@pytest.mark.django_db
def test_schema_and_docs_need_a_login_and_no_network():
    api = api_as("viewer")

    assert Api().client.get("/api/schema/").status_code == 401
    assert api.client.get("/api/schema/", headers=api.headers).status_code == 200
    page = api.client.get("/api/docs/", headers=api.headers)
    assert page.status_code == 200
    assert "https://" not in page.content.decode()


@pytest.mark.django_db
def test_server_speaks_english_whatever_the_client_asks_for():
    api = api_as("viewer")
    api.headers["Accept-Language"] = "zh-hans"

    response = api.post(f"instances/{uuid.uuid4()}/commands", {"kind": "ping", "timeout_s": 0})

    assert response.json()["detail"][0]["msg"] == "Ensure this value is greater than or equal to 1."
