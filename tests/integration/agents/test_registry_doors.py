"""Who may call the node registry: AUTH_MODE, tokens and environments, and pages of foreign origins."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Event, Node
from agents.services.nodes import Registration, register_node
from controlplane.common.rest.programs import is_program
from tests.factories import AgentTokenFactory, ApiTokenFactory
from tests.integration.agents.registry import BASE, META_DATA, TIMESTAMP, Registry, registration
from tests.integration.api_client import api_as, user_in
from tests.integration.console import console_as

pytestmark = pytest.mark.django_db
EVIL = "https://evil.example"


@pytest.fixture
def token_mode(settings):
    settings.AUTH_MODE = "token"


def agent(**fields):
    """A program with an agent token, of argus nodes unless `dialects` say other."""
    AgentTokenFactory(**{"secret": "oat_known", "dialects": ["argus"]} | fields)
    return Registry(Authorization="Bearer oat_known")


def program(role, **fields):
    ApiTokenFactory(user=user_in(role), secret="opt_known", **fields)
    return Registry(Authorization="Bearer opt_known")


def known_node(**changes):
    """A node that somebody registered before tokens were asked for."""
    fields = {"name": "old", "type": "agent", "version": "1", "meta_data": META_DATA} | changes
    return register_node(Registration(**fields))[0]


# --- disabled


def test_without_auth_everything_is_open_and_a_token_is_passed_over():
    registry = Registry(Authorization="Bearer nonsense")

    assert registry.register().status_code == 201
    assert registry.report("A1").status_code == 200
    assert registry.configure("A1", label=["gpu"]).status_code == 200
    assert registry.get("/nodes").status_code == 200


def test_without_auth_whoever_proves_who_they_are_is_named_in_history():
    known_node()
    console = console_as("operator")

    Registry(console).configure("A1", label=["a"])
    program("operator", scope="command").configure("A1", label=["b"])

    changes = Event.objects.filter(kind="object.changed").order_by("id")
    names = list(changes.values_list("actor", flat=True))
    assert names[0] == console.person.username
    assert names[1] not in {"", console.person.username}


@pytest.mark.parametrize("auth_mode", ["disabled", "token"])
@pytest.mark.parametrize(
    "headers",
    [{"Origin": EVIL}, {"Origin": "null"}, {"Referer": f"{EVIL}/page"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "null", "referer", "fetch-site"],
)
def test_page_of_a_foreign_origin_changes_nothing(settings, auth_mode, headers):
    settings.AUTH_MODE = auth_mode
    known_node()
    client = console_as("operator")
    calls = [
        ("POST", "/nodes", registration()),
        ("PUT", "/nodes/A1/status", {"timestamp": TIMESTAMP, "health": {}}),
        ("PUT", "/nodes/A1/config", {"label": ["gpu"]}),
    ]

    for verb, path, body in calls:
        # As a form of any page can be sent, without asking first.
        response = client.generic(verb, BASE + path, json.dumps(body), content_type="text/plain", headers=headers)
        assert response.status_code == 403
        assert response.json()["error"].startswith("cross-site request refused: it comes from ")

    assert (Node.objects.count(), Node.objects.get().label) == (1, [])


def test_own_pages_and_named_origins_may(settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://console.example.com"]
    known_node()

    for number, origin in enumerate(("http://testserver", "https://console.example.com")):
        response = Registry(Origin=origin).configure("A1", label=[f"l{number}"])
        assert response.status_code == 200


def test_node_needs_no_form_token():
    strict = Registry(Client(enforce_csrf_checks=True))

    assert strict.register().status_code == 201
    assert strict.report("A1").status_code == 200


def test_middleware_of_browsers_is_passed_over_for_nodes(rf):
    assert is_program(rf.get(f"{BASE}/nodes"))
    assert not is_program(rf.get(f"{BASE}/nodes", headers={"Cookie": "a=b"}))
    assert not is_program(rf.get("/api/v1/services"))


# --- token


@pytest.mark.usefixtures("token_mode")
@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer oat_revoked"},
        {"Authorization": "Bearer oat_expired"},
        {"Authorization": "Bearer oat_onestep"},
        {"Authorization": "Bearer opt_nonsense"},
    ],
)
def test_without_a_good_token_every_call_is_401_but_the_probes(shown):
    AgentTokenFactory(secret="oat_revoked", revoked_at=timezone.now())
    AgentTokenFactory(secret="oat_expired", expires_at=timezone.now() - timedelta(seconds=1))
    AgentTokenFactory(secret="oat_onestep", dialects=["onestep"])
    known_node()
    stranger = Registry(**shown)

    answers = [
        stranger.get("/nodes"),
        stranger.get("/nodes/A1"),
        stranger.get("/nodes/A9"),
        stranger.get("/nodes/statistics"),
        stranger.register(),
        stranger.call("POST", "/nodes", b"no json"),
        stranger.report("A1"),
        stranger.configure("A1", label=["gpu"]),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert all(answer.json()["error"].startswith("Authorization ") for answer in answers)
    assert answers[0]["WWW-Authenticate"] == 'Bearer realm="registry"'
    assert Node.objects.count() == 1


@pytest.mark.usefixtures("token_mode")
def test_agent_token_reads_registers_and_reports_and_sets_no_config():
    node = agent()

    assert node.register().status_code == 201
    assert node.report("A1").status_code == 200
    assert [node.get(path).status_code for path in ("/nodes", "/nodes/A1", "/nodes/statistics")] == [200] * 3
    response = node.configure("A1", label=["gpu"])
    assert response.status_code == 403
    assert "API token of an operator" in response.json()["error"]


@pytest.mark.usefixtures("token_mode")
def test_token_of_the_environment_speaks_for_nodes_too(settings):
    settings.INGEST_TOKENS = ("dev-token",)

    assert Registry(Authorization="Bearer dev-token").register().status_code == 201


@pytest.mark.usefixtures("token_mode")
@pytest.mark.parametrize(
    ("role", "scope", "reads", "configures"),
    [
        ("viewer", "read", 200, 403),
        ("operator", "read", 200, 403),
        ("operator", "command", 200, 200),
        ("admin", "admin", 200, 200),
    ],
)
def test_api_token_reads_and_with_its_scope_sets_config_and_is_no_node(role, scope, reads, configures):
    known_node()
    person = program(role, scope=scope)

    assert person.get("/nodes").status_code == reads
    assert person.configure("A1", label=["gpu"]).status_code == configures
    assert [person.register().status_code, person.report("A1").status_code] == [403, 403]
    assert "agent token" in person.register().json()["error"]


@pytest.mark.usefixtures("token_mode")
@pytest.mark.parametrize(("role", "reads", "configures"), [("viewer", 200, 403), ("operator", 200, 200)])
def test_session_of_the_console_reads_and_of_an_operator_sets_config(role, reads, configures):
    known_node()
    person = Registry(console_as(role))

    assert person.get("/nodes/A1").status_code == reads
    assert person.configure("A1", config={"a": 1}).status_code == configures
    assert person.register().status_code == 403


@pytest.mark.usefixtures("token_mode")
def test_bad_bearer_is_refused_beside_a_good_session():
    assert Registry(console_as("admin"), Authorization="Bearer nonsense").get("/nodes").status_code == 401


# --- environments


@pytest.mark.usefixtures("token_mode")
def test_node_of_another_environment_does_not_exist_for_a_narrow_token():
    known_node(name="mine", meta_data={"env": "dev"})
    known_node(name="theirs", meta_data={"env": "prod"})
    node = agent(environments=["dev"])

    assert [each["name"] for each in node.get("/nodes").json()] == ["mine"]
    assert node.get("/nodes/statistics").json()["total"] == 1
    assert [node.get("/nodes/A2").status_code, node.report("A2").status_code] == [404, 404]
    assert [node.get("/nodes/A1").status_code, node.report("A1").status_code] == [200, 200]
    assert node.register("theirs", id="A2", meta_data={"env": "dev"}).status_code == 404


@pytest.mark.usefixtures("token_mode")
@pytest.mark.parametrize(
    ("name", "env", "begins"),
    [
        ("new", "prod", "meta_data.env: this token does not speak for 'prod'."),
        ("mine", "prod", "meta_data.env: this token does not speak for 'prod'."),
        ("theirs", "dev", "name: it belongs to a node of an environment"),
    ],
)
def test_narrow_token_registers_nothing_elsewhere(name, env, begins):
    known_node(name="mine", meta_data={"env": "dev"})
    known_node(name="theirs", meta_data={"env": "prod"})

    response = agent(environments=["dev"]).register(name, meta_data={"env": env})

    assert response.status_code == 403
    assert response.json()["error"].startswith(begins)
    assert Node.objects.count() == 2


@pytest.mark.usefixtures("token_mode")
def test_api_token_for_an_environment_configures_only_there():
    known_node(name="mine", meta_data={"env": "dev"})
    known_node(name="theirs", meta_data={"env": "prod"})
    person = program("operator", scope="command", environments=["dev"])

    assert person.configure("A1", label=["gpu"]).status_code == 200
    assert person.configure("A2", label=["gpu"]).status_code == 404


@pytest.mark.usefixtures("token_mode")
def test_agent_token_may_be_made_for_an_environment_that_only_nodes_have():
    body = {"name": "nodes", "dialects": ["argus"], "environments": ["production"]}
    made = api_as("admin").post("agent-tokens", body)
    node = Registry(Authorization=f"Bearer {made.json()['secret']}")

    assert made.status_code == 200
    assert node.register("mine", meta_data={"env": "production"}).status_code == 201
    assert node.register("theirs", meta_data={"env": "prod"}).status_code == 403


def test_console_offers_environments_that_nodes_brought():
    known_node(meta_data={"env": "production"})

    page = console_as("admin").get("/admin/agents/agenttoken/add/").content.decode()

    assert 'value="production"' in page
    assert 'value="argus"' in page


# --- probes


@pytest.mark.parametrize("auth_mode", ["disabled", "token"])
def test_liveness_probe_touches_no_database(settings, django_assert_num_queries, auth_mode):
    settings.AUTH_MODE = auth_mode
    with django_assert_num_queries(0):
        response = Registry(Cookie="onestep_cp_console_session=x").get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
