"""The permission table holds: everything that can be called is in it, and answers as it says to everybody.

What can be called is read off the URL resolver, the admin site, the ASGI application and the consumer, never off the
table; and each of it is really called, as everybody.
"""

import json
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import get_resolver, include, path, reverse
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from agents.gateways.onestep import consumer
from agents.models import Event, FanOutTarget, Node, Removal
from agents.selectors.nodes import settings_mark
from agents.services.nodes import Registration, register_node
from controlplane import asgi, urls
from controlplane.access.console import MODELS, model_rules_of
from controlplane.access.declared import ensure_declared, routes, rules_of, undeclared
from controlplane.access.models import ApiToken, FailedLogin, SuccessfulLogin
from controlplane.access.pages import PAGES, STATIC_FILES
from controlplane.access.roles import Role
from controlplane.access.sockets import SOCKETS
from controlplane.access.table import API_ROUTES, REGISTRY_DOORS, UNKNOWN_NODE_ROUTE, Door
from tests import frames
from tests.factories import (
    AgentTokenFactory,
    AlertFactory,
    ApiTokenFactory,
    BackgroundJobFactory,
    ChannelFactory,
    CommandFactory,
    DeliveryFactory,
    EventFactory,
    FanOutFactory,
    GroupFactory,
    InstanceFactory,
    ReplicaFactory,
    RuleFactory,
    ServiceFactory,
    SessionFactory,
    SilenceFactory,
    TaskControlsFactory,
    TaskFactory,
    UserFactory,
    task_control,
)
from tests.frames import Agent
from tests.integration.access.test_api_table import body_for
from tests.integration.api_client import user_in
from tests.integration.console import console_as
from tests.sockets import ANSWER_WITHIN_S, AgentSocket, serving

PASSWORD = "n3w-Passw0rd"
LOGIN = "/admin/login/"
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


# --- who calls


@dataclass
class Caller:
    """Somebody, and what the table may count on: the role that counts, and whether the console lets them in."""

    client: Client
    role: Role | None = None
    is_known: bool = False
    has_session: bool = False
    is_staff: bool = False
    is_superuser: bool = False
    is_agent: bool = False
    headers: dict = field(default_factory=dict)
    name: str = ""

    def may(self, rule):
        if isinstance(rule, Role):
            return self.role is not None and self.role.rank >= rule.rank
        return {
            Door.ANYBODY: True,
            Door.LOGGED_IN: self.has_session,
            Door.STAFF: self.is_staff,
            Door.SUPERUSER: self.is_superuser,
            Door.NODE: is_open() or self.is_agent,
            Door.NODE_READER: is_open() or self.is_agent or self.role is not None,
            Door.NODE_OPERATOR: is_open() or (self.role is not None and self.role.rank >= Role.OPERATOR.rank),
            Door.PROGRAM: self.is_agent or (self.is_known and not self.has_session),
        }.get(rule, False)

    def may_page(self, rule):
        """The same for a page; those of the console know no tokens."""
        return rule is Door.ANYBODY or ((self.is_staff or rule is Door.PROGRAM) and self.may(rule))

    def call(self, verb, url, data=None, **options):
        if data is not None:
            return self.post(url, data)
        return unread(self.client.generic(verb, url, headers=self.headers, **options))

    def post(self, url, data):
        return self.client.post(url, data, headers=self.headers)


def unread(response):
    """The response, without the place that a file which nobody reads has among those that are made at once."""
    if response.streaming:
        # Not `close`: that ends the request, and with it the connection whose transaction the test is in.
        for give_back in response._resource_closers:
            give_back()
    return response


def is_open():
    """Whether the registry asks for no token."""
    return settings.AUTH_MODE == "disabled"


def person(role, **fields):
    """Somebody with a session of the console; None is a login without a role."""
    client = console_as(role or "viewer", **fields)
    if role is None:
        client.person.groups.clear()
    return Caller(
        client,
        role=Role.ADMIN if role == "superuser" else role and Role(role),
        is_known=True,
        has_session=True,
        is_staff=client.person.is_staff,
        is_superuser=role == "superuser",
        name=client.person.username,
    )


def program(role, *, counts_as=None, scope=ApiToken.Scope.ADMIN, **fields):
    """A program with a token of a user in that role; `counts_as` is the role that the token leaves."""
    token = ApiTokenFactory(user=user_in(role), scope=scope, secret="opt_known", **fields)
    headers = {"Authorization": "Bearer opt_known"}
    return Caller(Client(), role=counts_as, is_known=counts_as is not None, headers=headers, name=token.user.username)


def agent():
    AgentTokenFactory(secret="oat_known")
    return Caller(Client(), is_agent=True, headers={"Authorization": "Bearer oat_known"})


CALLERS = {
    "anonymous": lambda: Caller(Client()),
    "without-role": lambda: person(None),
    "without-console": lambda: person("viewer", is_staff=False),
    "viewer": lambda: person("viewer"),
    "operator": lambda: person("operator"),
    "admin": lambda: person("admin"),
    "superuser": lambda: person("superuser"),
    "token": lambda: program("admin", counts_as=Role.ADMIN),
    "read-token": lambda: program("admin", counts_as=Role.VIEWER, scope=ApiToken.Scope.READ),
    "command-token": lambda: program("admin", counts_as=Role.OPERATOR, scope=ApiToken.Scope.COMMAND),
    "revoked-token": lambda: program("admin", revoked_at=timezone.now()),
    "expired-token": lambda: program("admin", expires_at=timezone.now() - timedelta(seconds=1)),
    "agent-token": agent,
}


@pytest.fixture
def caller(request, db):
    return CALLERS[request.param]()


everybody = pytest.mark.parametrize("caller", CALLERS, indirect=True)


# --- what is called


def connected():
    """An instance that would take a command."""
    return SessionFactory().instance


def archived_node():
    found = Node.objects.select_related("instance").get(instance__external_id=registered_node())
    found.instance.archived_at = timezone.now()
    found.instance.save()
    return found


def waiting_fan_out():
    """An order of which a command was not sent yet."""
    fan_out = FanOutFactory(dispatched=1)
    command = CommandFactory()
    FanOutTarget.objects.create(fan_out=fan_out, instance=command.instance, outcome="dispatched", command=command)
    return fan_out


def registered_node():
    """The id of a node of the registry."""
    name = f"node-{Node.objects.count()}"
    return register_node(Registration(name=name, type="agent", version="1", meta_data={}))[0].id


def schedule(**fields):
    interval = IntervalSchedule.objects.create(every=1, period="days")
    return PeriodicTask.objects.create(
        name=f"nightly-{interval.pk}", task="agents.tasks.sweep_liveness", interval=interval, **fields
    )


# Where a test of a channel is refused at once.
NOBODY_THERE = "http://127.0.0.1:1/hook"
LOGIN_ROUTES = {route for route in API_ROUTES if route.startswith("api/v1/auth/")}
ROWS = {
    "agents.service": lambda: connected().service,
    "agents.instance": connected,
    "agents.node": lambda: Node.objects.get(instance__external_id=registered_node()),
    "agents.command": CommandFactory,
    "agents.fanout": FanOutFactory,
    "agents.group": GroupFactory,
    "agents.session": SessionFactory,
    "agents.event": EventFactory,
    "agents.removal": lambda: Removal.objects.create(
        kind="instance", target_id="1", name="n", environment="dev", requested_at=timezone.now()
    ),
    "agents.replica": ReplicaFactory,
    "agents.backgroundjob": BackgroundJobFactory,
    "agents.agenttoken": AgentTokenFactory,
    "tasks_app.task": TaskFactory,
    "notifications.channel": lambda: ChannelFactory(url=NOBODY_THERE),
    "notifications.rule": RuleFactory,
    "notifications.alert": AlertFactory,
    "notifications.delivery": lambda: DeliveryFactory(failed=True),
    "notifications.silence": SilenceFactory,
    "access.apitoken": ApiTokenFactory,
    "access.successfullogin": lambda: SuccessfulLogin.objects.create(username="ann", session_hash="h"),
    "access.failedlogin": lambda: FailedLogin.objects.create(username="ann"),
    "auth.user": UserFactory,
    "auth.group": lambda: Group.objects.create(name=f"team-{Group.objects.count()}"),
    "django_celery_beat.periodictask": schedule,
    "django_celery_beat.intervalschedule": lambda: IntervalSchedule.objects.create(every=1, period="days"),
    "django_celery_beat.crontabschedule": CrontabSchedule.objects.create,
    "django_celery_beat.solarschedule": lambda: SolarSchedule.objects.create(event="sunset", latitude=1, longitude=1),
    "django_celery_beat.clockedschedule": lambda: ClockedSchedule.objects.create(clocked_time=timezone.now()),
}
# Pages of rows that show what would be done and do nothing yet.
ASK_AGAIN = {"agents/service/send", "notifications/channel/test"}
# What the pages of rows take to do something, where that is more than nothing.
PAGE_DATA = {
    "agents/service/forget": {"name": "ghost"},
    "agents/instance/forget": {"name": "ghost"},
    "agents/service/send": {"kind": "ping", "timeout_s": 10, "target_mode": "all_online"},
    "agents/instance/send": {"kind": "ping", "timeout_s": 10},
    "agents/instance/labels": {"labels": "rack=7"},
    "agents/node/configure": {"label": "gpu", "config": "{}", "seen": settings_mark(Node(config={}, label=[]))},
    "auth/user/password": {"password1": PASSWORD, "password2": PASSWORD},
    "notifications/channel/edit": {"provider": "custom", "name": "other", "language": "en"},
    "notifications/rule/edit": {
        "name": "other",
        "types_tasks": "task_failed",
        "group_by": "type",
        "wait_s": 1,
        "update_s": 1,
        "threshold_count": 1,
        "threshold_window_s": 1,
        "missed_start_grace_s": 1,
    },
    "notifications/silence/edit": {"reason": "other", "when": "once", "lasts": "24"},
}


def data_of(page, row):
    if page == "tasks_app/task/send":
        instance = InstanceFactory(service=row.service, online=True)
        SessionFactory(instance=instance)
        TaskControlsFactory(instance=instance, controls=[task_control(row.name)])
        return {
            "instance": str(instance.pk),
            "kind": "pause_task",
            "task_name": row.name,
            "reason": "r",
            "timeout_s": 10,
        }
    return PAGE_DATA.get(page, {})


# And what row, where it is another than that of ROWS; by the model and what is done.
DONE_TO = {
    ("agents.instance", "archive"): lambda: InstanceFactory(offline=True),
    ("agents.instance", "restore"): lambda: InstanceFactory(offline=True, archived_at=timezone.now()),
    ("agents.instance", "forget"): lambda: InstanceFactory(offline=True, node_name="ghost"),
    ("agents.node", "restore"): archived_node,
    ("agents.fanout", "cancel"): waiting_fan_out,
    ("notifications.channel", "enable"): lambda: ChannelFactory(enabled=False),
    ("notifications.rule", "enable"): lambda: RuleFactory(enabled=False),
    ("agents.service", "archive"): ServiceFactory,
    ("agents.service", "restore"): lambda: ServiceFactory(archived_at=timezone.now()),
    ("agents.service", "forget"): lambda: ServiceFactory(name="ghost"),
}
QUERIES = {
    "admin/autocomplete/": "?app_label=agents&model_name=event&field_name=service&term=",
    "admin/fan-outs/send/": "?selector=env",
}
OTHER_VALUES = {
    "<app_label>": "agents",
    "<int:view_id>": "1",
    "<path:content_type_id>": "1",
    "(?P<url>.*)$": "nothing",
}


def page_routes():
    """Every route that is not below /api."""
    return [route for route in routes(get_resolver()) if not route.lstrip("^").startswith("api")]


def label_of(route):
    """The model whose page it is, or None."""
    parts = route.split("/")
    label = ".".join(parts[1:3])
    return label if len(parts) > 3 and label in {model._meta.label_lower for model in admin.site._registry} else None


def url_of(route, row):
    url = route
    for name in ("<path:object_id>", "<id>"):
        url = url.replace(name, str(row.pk) if row is not None else "1")
    for name, value in OTHER_VALUES.items():
        url = url.replace(name, value)
    return f"/{url}{QUERIES.get(route, '')}"


def is_refused(response):
    """Told to log in, told no, or told that there is nothing to do here."""
    return response.status_code in {401, 403, 405} or (
        response.status_code == 302 and response.url.startswith(LOGIN) and response.wsgi_request.path != LOGIN
    )


def acts_of(name):
    """How many events tell of what that person did, logins apart."""
    return Event.objects.filter(actor=name).exclude(kind__startswith="login.").count() if name else 0


# --- everything is declared


def test_every_url_action_and_socket_is_declared():
    assert undeclared(get_resolver(), admin.site, asgi._SOCKETS) == []


def test_nothing_is_declared_that_is_not_there():
    served = set(routes(get_resolver()))
    labels = {model._meta.label_lower for model in admin.site._registry}

    assert set(API_ROUTES) | set(PAGES) <= served
    assert set(MODELS) == labels
    assert set(SOCKETS) == set(asgi._SOCKETS)
    for label, rules in MODELS.items():
        pages = {route.split("/")[-2] for route in served if label_of(route) == label and model_rules_of(route)}
        assert set(rules.pages) <= pages


@pytest.mark.parametrize(
    "route",
    ["secret", "admin/secret/", "api/v1/secret", "admin/agents/instance/<path:object_id>/secret/", "admin/no/model/"],
)
def test_new_route_without_a_rule_is_found_and_not_served(route, monkeypatch):
    monkeypatch.setattr(urls, "urlpatterns", [path(route, HttpResponse), *urls.urlpatterns])

    class Conf:
        urlpatterns = urls.urlpatterns

    resolver = get_resolver(Conf)
    assert undeclared(resolver, admin.site, []) == [f"the URL {route!r}"]
    with pytest.raises(ImproperlyConfigured, match="Nothing is served"):
        ensure_declared(resolver, admin.site, [])


def test_new_route_inside_an_include_is_found():
    class Conf:
        urlpatterns = [path("admin/", include([path("deep/", include([path("er", HttpResponse)]))]))]

    assert undeclared(get_resolver(Conf), admin.site, []) == ["the URL 'admin/deep/er'"]


def test_new_action_without_a_rule_is_found(monkeypatch):
    (model_admin,) = (each for model, each in admin.site._registry.items() if model._meta.label == "agents.Command")
    monkeypatch.setattr(model_admin, "actions", ("cancel_selected", "resend_selected"))

    assert undeclared(get_resolver(), admin.site, []) == ["the action 'resend_selected' of agents.command"]


def test_new_socket_without_a_rule_is_found():
    assert undeclared(get_resolver(), admin.site, ["/api/v1/agents/ws", "/ws/secret"]) == ["the socket '/ws/secret'"]


def test_every_frame_of_the_consumer_is_declared_and_nothing_else():
    known = {"hello", *consumer._HANDLERS, *consumer._OF_THE_PORTAL}

    assert set(SOCKETS["/api/v1/agents/ws"]) == known


# --- pages


@everybody
def test_every_page_answers_as_the_table_says(caller):
    rows = {label: make() for label, make in ROWS.items()}
    wrong = []
    for route in page_routes():
        label = label_of(route)
        url = url_of(route, rows.get(label))
        for verb, rule in rules_of(route).items():
            if verb == "POST" and (route == "admin/logout/" or is_page_of_row(route)):
                continue
            response = caller.call(verb, url, {} if verb == "POST" else None)
            if is_refused(response) == caller.may_page(rule):
                wrong.append((verb, url, rule, response.status_code))

    assert wrong == []


def is_page_of_row(route):
    """Whether POST does something there at once."""
    label = label_of(route)
    return label is not None and route.split("/")[-2] in MODELS[label].pages


@everybody
def test_every_page_that_does_something_does_it_for_whom_the_table_says(caller):
    wrong = []
    for route in filter(is_page_of_row, page_routes()):
        rule = rules_of(route).get("POST")
        if rule is None:
            continue
        label, last = label_of(route), route.split("/")[-2]
        row, before = DONE_TO.get((label, last), ROWS[label])(), acts_of(caller.name)
        page = "/".join([*route.split("/")[1:3], route.split("/")[-2]])
        response = caller.post(url_of(route, row), data_of(page, row))
        did = response.status_code == 200 if page in ASK_AGAIN else acts_of(caller.name) > before
        if did != caller.may_page(rule):
            wrong.append((page, rule, response.status_code))

    assert wrong == []


@pytest.mark.parametrize("caller", ["superuser"], indirect=True)
def test_other_verbs_do_nothing_even_for_superusers(caller):
    rows = {label: make() for label, make in ROWS.items()}
    left = {label: len(type(row).objects.values_list("pk")) for label, row in rows.items() if label != "agents.event"}
    for route in page_routes():
        for verb in ("PUT", "PATCH", "DELETE"):
            response = caller.call(verb, url_of(route, rows.get(label_of(route))))
            assert response.status_code < 500

    assert acts_of(caller.name) == 0
    assert left == {label: len(type(row).objects.values_list("pk")) for label, row in rows.items() if label in left}


@everybody
def test_logout_is_open_to_everybody(caller):
    assert not is_refused(caller.post(reverse("admin:logout"), {}))


@pytest.mark.django_db
def test_files_of_the_console_are_open_to_everybody():
    assert STATIC_FILES is Door.ANYBODY
    with closing(Client().get("/static/console/console.css")) as response:
        assert response.status_code == 200


# --- actions


@pytest.mark.django_db
def test_superuser_is_offered_exactly_the_actions_of_the_table():
    request = RequestFactory().get("/admin/")
    request.user = console_as("superuser").person

    offered = {
        model._meta.label_lower: set(model_admin.get_actions(request))
        for model, model_admin in admin.site._registry.items()
    }

    assert offered == {label: set(rules.actions) for label, rules in MODELS.items()}


@everybody
def test_every_action_is_done_for_whom_the_table_says(caller):
    wrong = []
    for label, action, rule in every_action():
        make = DONE_TO.get((label, action.removesuffix("_selected")), ROWS[label])
        row = schedule(enabled=action != "enable_tasks") if label.endswith("periodictask") else make()
        before = acts_of(caller.name)
        data = {"action": action, "_selected_action": [row.pk], "confirm": "yes", "post": "yes", "reason": "why"}
        data |= {"timeout_s": 10, "given": "rack=7", "typed": "1"}
        url = reverse(f"admin:{label.replace('.', '_')}_changelist")
        url += "?archived=all" if action == "restore_selected" else ""
        response = caller.post(url, data)
        if (acts_of(caller.name) > before) != caller.may_page(rule):
            wrong.append((label, action, rule, response.status_code))

    assert wrong == []


def every_action():
    request = RequestFactory().get("/admin/")
    request.user = UserFactory(is_superuser=True)
    for model, model_admin in admin.site._registry.items():
        for action in model_admin.get_actions(request):
            yield model._meta.label_lower, action, MODELS[model._meta.label_lower].actions[action]


# --- API


@everybody
@pytest.mark.parametrize("auth_mode", ["disabled", "token"])
def test_every_api_route_and_verb_answers_as_the_table_says(caller, auth_mode, settings):
    settings.AUTH_MODE = auth_mode
    service = ServiceFactory()
    values = {
        "<name:service_name>": service.name,
        "<name:task_name>": "ghost",
        "<name:fan_out_id>": f"fan_{'0' * 32}",
        "<name:group_name>": "ghost",
        "<name:event_id>": "999999999",
        "<name:token_id>": "999999999",
        "<name:node_id>": "A999999999",
        **dict.fromkeys(("<name:channel_id>", "<name:rule_id>", "<name:alert_id>", "<name:silence_id>"), "999999999"),
    }
    wrong = []
    for route, rules in API_ROUTES.items():
        if route in LOGIN_ROUTES or route == UNKNOWN_NODE_ROUTE:
            continue
        url = "/" + route
        for name, value in values.items():
            url = url.replace(name, value)
        url = url.replace("<name:instance_id>", "0" * 32).replace("<name:command_id>", f"cmd_{'0' * 32}")
        url = url.replace("<name:removal_id>", "0" * 32).replace("<name:delivery_id>", "0" * 32)
        for verb, rule in rules.items():
            response = api_call(caller, verb, f"{url}?environment=dev")
            if rule is Door.AGENT:
                expected = "in" if caller.is_agent else "unknown"
            else:
                is_known = caller.is_known or (caller.is_agent and rule in REGISTRY_DOORS)
                expected = "in" if caller.may(rule) else "refused" if is_known else "unknown"
            # Whoever is in may be told that there is nothing, or that the body is wrong.
            seen = {401: "unknown", 403: "refused"}.get(response.status_code, "in")
            if seen != expected:
                wrong.append((verb, url, rule, response.status_code))

    assert wrong == []


def api_call(caller, verb, url):
    if verb == "GET":
        return unread(caller.client.get(url, headers=caller.headers))
    body = {} if "presence" in url else body_for(url)
    return caller.client.generic(verb, url, json.dumps(body), "application/json", headers=caller.headers)


@everybody
@pytest.mark.parametrize("route", sorted(LOGIN_ROUTES))
def test_every_route_of_logins_answers_as_the_table_says(caller, route):
    """Each with a login of its own, which it may end. They know no tokens."""
    ((verb, rule),) = API_ROUTES[route].items()

    response = caller.client.generic(verb, f"/{route}", "{}", "application/json", headers=caller.headers)

    # Whoever may log in may be told that the body is wrong.
    assert (response.status_code == 401) == (not caller.may(rule))
    assert response.status_code in {200, 401, 422}


@everybody
def test_other_verbs_of_the_api_are_not_found(caller):
    found = [
        (verb, route)
        for route, rules in API_ROUTES.items()
        for verb in VERBS
        if verb not in rules and not route.startswith(("api/schema", "api/docs")) and Door.AGENT not in rules.values()
        # It says 405.
        if "api/v1/master" not in route
        if caller.call(verb, "/" + route.replace("<name:", "").replace(">", "")).status_code not in {401, 404}
    ]

    assert found == []


# --- sockets


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("token", [None, "", "unknown", "oat_revoked", "oat_expired", "opt_program"])
async def test_no_frame_is_taken_without_an_agent_token(token):
    @database_sync_to_async
    def make_tokens():
        AgentTokenFactory(secret="oat_revoked", revoked_at=timezone.now())
        AgentTokenFactory(secret="oat_expired", expires_at=timezone.now() - timedelta(seconds=1))
        ApiTokenFactory(secret="opt_program", user=UserFactory(is_superuser=True), scope="admin")

    await make_tokens()
    async with serving():
        status, _detail = await AgentSocket(asgi.application, token=token).refusal()

    assert status == 401


def frame_of(kind, agent):
    return {
        "hello": agent.hello,
        "telemetry": agent.heartbeat,
        "command_ack": lambda: frames.ack(f"cmd_{'0' * 32}"),
        "command_result": lambda: frames.result(f"cmd_{'0' * 32}"),
    }.get(kind, lambda: frames.envelope(kind, {}))()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", sorted({"hello", *consumer._HANDLERS, *consumer._OF_THE_PORTAL}))
async def test_every_frame_is_taken_from_whom_the_table_says(kind, settings):
    settings.INGEST_TOKENS = ("dev-token",)
    rule = SOCKETS["/api/v1/agents/ws"][kind]
    agent = Agent()

    async with serving() as connect:
        stranger = await connect()
        await stranger.send_frame(frame_of(kind, agent))
        first = await stranger.frame()
        at_home = await connect(Agent())
        await at_home.send_frame(frames.ack(f"cmd_{'1' * 32}") if kind == "hello" else frame_of(kind, Agent()))
        second = (await at_home.frame())["payload"]

    if rule is Door.AGENT:
        assert first["type"] == "hello_ack"
        return
    assert first["payload"]["code"] == "session_not_initialized"
    # Telemetry of another instance; answers to a command that was never sent; frames of the portal.
    refusals = {"telemetry": "instance_conflict", "command_ack": "unknown_command", "command_result": "unknown_command"}
    assert second["code"] == refusals.get(kind, "invalid_message")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("target", ["/ws", "/api/v1/agents/ws/", "/admin/", "/api/v1/ui/stream"])
async def test_no_other_path_takes_a_socket(target):
    async with serving():
        socket = AgentSocket(asgi.application)
        socket.scope["path"] = target
        await socket.send_input({"type": "websocket.connect"})
        answer = await socket.receive_output(timeout=ANSWER_WITHIN_S)

    assert answer["type"] != "websocket.accept"
