"""Agent tokens by the API: made, shown once, revoked."""

import pytest

from agents.models import AgentToken, Event
from agents.models.event import EventKind
from agents.services.tokens import check_agent_token
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
from tests.factories import AgentTokenFactory
from tests.integration.api_client import Api, api_as, user_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return api_as("admin")


@pytest.fixture
def narrow():
    _, secret = create_api_token(
        actor=SYSTEM, name="narrow", user=user_in("admin"), scope="admin", environments=["dev", "staging"]
    )
    return Api(headers={"Authorization": f"Bearer {secret}"})


def names(api, **query):
    return {item["name"] for item in api.get("agent-tokens", query).json()["items"]}


def test_token(api):
    token = AgentTokenFactory(dialects=["onestep"], environments=["dev"])
    expected = {
        "id": token.pk,
        "name": token.name,
        "prefix": token.prefix,
        "environments": ["dev"],
        "state": "usable",
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "created_at": token.created_at.isoformat(),
        "dialects": ["onestep"],
        "created_by": None,
    }

    assert api.get("agent-tokens").json() == {"items": [expected], "next_cursor": None}
    assert api.get(f"agent-tokens/{token.pk}").json() == expected


@pytest.mark.parametrize("count", [1, 3])
def test_token_list_costs_the_same_for_many(api, django_assert_num_queries, count):
    AgentTokenFactory.create_batch(count)
    api.get("services")

    # Token and role, page with makers.
    with django_assert_num_queries(2):
        body = api.get("agent-tokens").json()

    assert len(body["items"]) == count


def test_secret_is_shown_once_and_opens_the_door(api):
    made = api.post("agent-tokens", {"name": "edge", "environments": ["prod"]}).json()

    credential = check_agent_token(made["secret"], dialect="onestep")
    assert (credential.token_id, credential.environments) == (made["id"], ("prod",))
    assert "secret" not in api.get(f"agent-tokens/{made['id']}").json()
    assert Event.objects.get(kind=EventKind.TOKEN_CREATED).actor == made["created_by"]


def test_token_is_revoked_once(api):
    token = AgentTokenFactory(secret="oat_known")

    answers = [api.post(f"agent-tokens/{token.pk}/revoke") for _ in range(2)]

    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "revoked")] * 2
    assert check_agent_token("oat_known", dialect="onestep") is None
    assert Event.objects.filter(kind=EventKind.TOKEN_REVOKED).count() == 1


def test_name_that_is_taken_is_a_conflict(api):
    AgentTokenFactory(name="taken")

    response = api.post("agent-tokens", {"name": "taken"})

    assert (response.status_code, response.json()) == (409, {"detail": "a token named taken exists already"})
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("changed", "loc"),
    [
        ({"name": "a\0b"}, ["name"]),
        ({"name": "x" * 256}, ["name"]),
        ({"dialects": ["jkstack"]}, ["dialects", 0]),
        ({"dialects": "onestep"}, ["dialects"]),
        ({"environments": {}}, ["environments"]),
        ({"expires_at": "2020-01-01"}, ["expires_at"]),
        ({"user": "me"}, ["user"]),
    ],
)
def test_body_is_checked(api, changed, loc):
    response = api.post("agent-tokens", {"name": "new", **changed})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", *loc]


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_see_tokens_and_only_admins_make_and_revoke_them(role):
    token, api = AgentTokenFactory(), api_as(role)

    answers = [
        api.get("agent-tokens"),
        api.get(f"agent-tokens/{token.pk}"),
        api.post("agent-tokens", {"name": "new"}),
        api.post(f"agent-tokens/{token.pk}/revoke"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 403, 403]
    assert AgentToken.objects.get().revoked_at is None


def test_narrowed_token_sees_and_makes_tokens_within_its_environments_only(narrow):
    for name, environments in [("all", []), ("one", ["dev"]), ("more", ["dev", "prod"])]:
        AgentTokenFactory(name=name, environments=environments)
    hidden = AgentToken.objects.get(name="all")

    assert names(narrow) == {"one"}
    assert narrow.post(f"agent-tokens/{hidden.pk}/revoke").status_code == 404
    assert narrow.post("agent-tokens", {"name": "a"}).json()["environments"] == ["dev", "staging"]
    assert narrow.post("agent-tokens", {"name": "b", "environments": []}).status_code == 403
    assert narrow.post("agent-tokens", {"name": "c", "environments": ["prod"]}).status_code == 403
