"""API tokens by the API: who sees, makes and revokes which, and that none makes a stronger one."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from controlplane.access.models import ApiToken
from controlplane.access.policy import LOGGED_IN_AT_KEY
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
from tests.factories import ApiTokenFactory, UserFactory
from tests.integration.api_client import Api, api_as, api_in_session, user_in

pytestmark = pytest.mark.django_db
OLD_LOGIN_S = 3600


def program(user, **fields):
    """A program with a token of this user; of all scopes and environments unless said."""
    _, secret = create_api_token(actor=SYSTEM, name=f"of {user.username}", user=user, **{"scope": "admin", **fields})
    return Api(headers={"Authorization": f"Bearer {secret}"})


def names(api, **query):
    return {item["name"] for item in api.get("tokens", query).json()["items"]}


def iso(moment):
    return moment.isoformat()


def test_token(settings):
    settings.TIME_ZONE = "UTC"
    admin = api_in_session("admin")
    token = ApiTokenFactory(scope="command", environments=["dev"], expires_at=timezone.now() + timedelta(days=1))
    expected = {
        "id": token.pk,
        "name": token.name,
        "prefix": token.prefix,
        "environments": ["dev"],
        "state": "usable",
        "expires_at": iso(token.expires_at),
        "revoked_at": None,
        "last_used_at": None,
        "created_at": iso(token.created_at),
        "user": token.user.username,
        "scope": "command",
    }

    assert admin.get("tokens").json() == {"items": [expected], "next_cursor": None}
    assert admin.get(f"tokens/{token.pk}").json() == expected


def test_everybody_sees_ones_own_and_admins_see_all():
    mine, other = user_in("viewer"), ApiTokenFactory(name="other")
    own = program(mine)

    assert names(own) == {f"of {mine.username}"}
    assert own.get(f"tokens/{other.pk}").status_code == 404
    assert own.post(f"tokens/{other.pk}/revoke").status_code == 404
    assert names(api_in_session("admin")) == {f"of {mine.username}", "other"}


def test_tokens_are_narrowed():
    admin = api_in_session("admin")
    now = timezone.now()
    user = UserFactory(username="bot")
    ApiTokenFactory(name="usable", user=user, scope="admin", expires_at=now + timedelta(days=1))
    ApiTokenFactory(name="expired", expires_at=now - timedelta(days=1))
    ApiTokenFactory(name="revoked", revoked_at=now, expires_at=now - timedelta(days=1))

    assert names(admin, state="usable") == {"usable"}
    assert names(admin, state="expired") == {"expired"}
    assert names(admin, state="revoked") == {"revoked"}
    assert names(admin, user="bot") == {"usable"}
    assert names(admin, scope="admin,command") == {"usable"}
    assert [item["name"] for item in admin.get("tokens", {"ordering": "name"}).json()["items"]] == [
        "expired",
        "revoked",
        "usable",
    ]
    assert {item["name"]: item["state"] for item in admin.get("tokens").json()["items"]} == {
        name: name for name in ("usable", "expired", "revoked")
    }


@pytest.mark.parametrize("count", [1, 3])
def test_token_list_costs_the_same_for_many(django_assert_num_queries, count):
    api = api_as("admin")
    ApiTokenFactory.create_batch(count)
    api.get("services")

    # Token and role, page with users.
    with django_assert_num_queries(2):
        body = api.get("tokens").json()

    assert len(body["items"]) == count + 1


# Making.


def test_secret_is_shown_once_and_works():
    admin = api_in_session("admin")

    made = admin.post("tokens", {"name": "ci", "scope": "command", "environments": ["prod", "dev", "prod"]}).json()

    program = Api(headers={"Authorization": f"Bearer {made['secret']}"})
    assert made["environments"] == ["dev", "prod"]
    assert names(program) == {"ci"}
    assert "secret" not in admin.get(f"tokens/{made['id']}").json()


def test_token_until_the_end_of_the_calendar_is_shown_in_any_zone(settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    admin = api_in_session("admin")

    made = admin.post("tokens", {"name": "ci", "expires_at": "9999-12-31T23:59:59Z"})

    assert (made.status_code, made.json()["expires_at"]) == (200, "9999-12-01T08:00:00+08:00")
    assert admin.get("tokens").json()["items"][0]["expires_at"] == "9999-12-01T08:00:00+08:00"


def test_what_is_not_said_is_as_little_as_can_be():
    made = api_in_session("operator").post("tokens", {"name": "ci"}).json()

    assert (made["scope"], made["environments"], made["expires_at"]) == ("read", [], None)


@pytest.mark.parametrize(
    ("role", "scope", "wanted", "status"),
    [
        ("viewer", None, "read", 200),
        ("viewer", None, "command", 403),
        ("operator", None, "command", 200),
        ("operator", None, "admin", 403),
        ("admin", None, "admin", 200),
        ("admin", "admin", "admin", 200),
        ("admin", "command", "admin", 403),
        ("admin", "read", "command", 403),
        ("admin", "read", "read", 200),
        ("viewer", "admin", "command", 403),
    ],
)
def test_no_token_may_do_more_than_who_makes_it(role, scope, wanted, status):
    api = program(user_in(role), scope=scope) if scope else api_in_session(role)

    response = api.post("tokens", {"name": "new", "scope": wanted})

    assert response.status_code == status
    assert ApiToken.objects.filter(name="new").exists() is (status == 200)


@pytest.mark.parametrize(("scope", "status"), [("read", 200), ("command", 200), ("admin", 401)])
def test_old_login_makes_no_token_that_needs_none(scope, status):
    admin = api_in_session("admin")
    session = admin.client.session
    session[LOGGED_IN_AT_KEY] = time.time() - OLD_LOGIN_S
    session.save()

    response = admin.post("tokens", {"name": "new", "scope": scope})

    assert response.status_code == status
    assert ApiToken.objects.filter(name="new").exists() is (status == 200)


@pytest.mark.parametrize(
    ("wanted", "status", "made"),
    [(None, 200, ["dev", "staging"]), (["dev"], 200, ["dev"]), (["dev", "prod"], 403, None), ([], 403, None)],
)
def test_no_token_sees_more_environments_than_the_token_that_makes_it(wanted, status, made):
    api = program(user_in("admin"), environments=["staging", "dev"])

    response = api.post("tokens", {"name": "new"} | ({} if wanted is None else {"environments": wanted}))

    assert (response.status_code, response.json().get("environments")) == (status, made)


@pytest.mark.parametrize(("days", "status"), [(None, 200), (1, 200), (3, 403)])
def test_no_token_outlives_the_token_that_makes_it(days, status):
    now = timezone.now()
    latest = now + timedelta(days=2)
    api = program(user_in("operator"), expires_at=latest)
    wanted = None if days is None else now + timedelta(days=days)

    response = api.post("tokens", {"name": "new", "expires_at": wanted and iso(wanted)})

    assert response.status_code == status
    assert status == 403 or response.json()["expires_at"] == iso(wanted or latest)


def test_admins_make_tokens_for_others():
    UserFactory(username="bot", role="viewer")

    made = api_as("admin").post("tokens", {"name": "new", "user": "bot", "scope": "admin"})

    assert (made.status_code, made.json()["user"]) == (200, "bot")


@pytest.mark.parametrize(("role", "scope"), [("viewer", "admin"), ("operator", "admin"), ("admin", "command")])
def test_nobody_else_does(role, scope):
    UserFactory(username="bot")

    response = program(user_in(role), scope=scope).post("tokens", {"name": "new", "user": "bot"})

    assert (response.status_code, response.json()) == (403, {"detail": "only administrators make tokens for others"})


@pytest.mark.parametrize(("is_superuser", "status"), [(True, 200), (False, 403)])
def test_only_superusers_make_tokens_for_superusers(is_superuser, status):
    UserFactory(username="root", is_superuser=True)

    response = program(user_in("admin", is_superuser=is_superuser)).post("tokens", {"name": "new", "user": "root"})

    assert response.status_code == status


@pytest.mark.parametrize("username", ["nobody", "retired"])
def test_token_for_nobody_is_refused(username):
    UserFactory(username="retired", is_active=False)

    response = api_as("admin").post("tokens", {"name": "new", "user": username})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "user"]


def test_name_that_is_taken_is_a_conflict():
    ApiTokenFactory(name="taken")

    response = api_as("viewer").post("tokens", {"name": "taken"})

    assert (response.status_code, response.json()) == (409, {"detail": "a token named taken exists already"})


@pytest.mark.parametrize(
    ("changed", "loc"),
    [
        ({"name": ""}, ["name"]),
        ({"name": 1}, ["name"]),
        ({"name": "x" * 256}, ["name"]),
        ({"name": "a\0b"}, ["name"]),
        ({"name": "\ud800"}, ["name"]),
        ({"name": None}, ["name"]),
        ({"user": ""}, ["user"]),
        ({"user": ["x"]}, ["user"]),
        ({"user": "a\0"}, ["user"]),
        ({"scope": "all"}, ["scope"]),
        ({"scope": []}, ["scope"]),
        ({"environments": "dev"}, ["environments"]),
        ({"environments": ["mars"]}, ["environments", 0]),
        ({"environments": [["dev"]]}, ["environments", 0]),
        ({"environments": ["dev"] * 10_000}, ["environments"]),
        ({"environments": None}, ["environments"]),
        ({"expires_at": "tomorrow"}, ["expires_at"]),
        ({"expires_at": 10**30}, ["expires_at"]),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ["expires_at"]),
        ({"secret": "opt_mine"}, ["secret"]),
    ],
)
def test_body_is_checked(changed, loc):
    response = api_as("admin").post("tokens", {"name": "new", **changed})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", *loc]


# Revoking.


def test_own_token_is_revoked_and_refused_from_then_on():
    user = user_in("viewer")
    other, secret = create_api_token(actor=SYSTEM, name="leaked", user=user)
    lost = Api(headers={"Authorization": f"Bearer {secret}"})
    own = program(user)

    answers = [own.post(f"tokens/{other.pk}/revoke") for _ in range(2)]

    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "revoked")] * 2
    assert answers[0].json()["revoked_at"] == answers[1].json()["revoked_at"]
    assert lost.get("tokens").status_code == 401


def test_admins_revoke_everybodys():
    token = ApiTokenFactory()

    assert api_as("admin").post(f"tokens/{token.pk}/revoke").json()["state"] == "revoked"


def test_token_does_not_revoke_a_stronger_one_but_its_user_does():
    user = user_in("admin")
    strong = ApiTokenFactory(user=user, scope="admin")

    by_token = program(user, scope="read").post(f"tokens/{strong.pk}/revoke")
    strong.refresh_from_db()

    assert (by_token.status_code, strong.revoked_at) == (403, None)


def test_person_revokes_ones_own_whatever_it_may_do():
    api = api_in_session("viewer")
    strong = ApiTokenFactory(user_id=int(api.client.session["_auth_user_id"]), scope="admin")

    assert api.post(f"tokens/{strong.pk}/revoke").status_code == 200


# Environments.


def test_narrowed_token_sees_tokens_within_its_environments_only():
    user = user_in("admin")
    for name, environments in [
        ("all", []),
        ("one", ["dev"]),
        ("both", ["staging", "dev"]),
        ("other", ["prod"]),
        ("more", ["dev", "prod"]),
    ]:
        ApiTokenFactory(name=name, user=user, environments=environments)
    api = program(user, environments=["dev", "staging"])
    hidden = ApiToken.objects.get(name="all")

    assert names(api) == {"one", "both", f"of {user.username}"}
    assert api.get(f"tokens/{hidden.pk}").status_code == 404
    assert api.post(f"tokens/{hidden.pk}/revoke").status_code == 404


@pytest.mark.parametrize("token_id", ["0", "x", "-1", "1" * 19, "1%00"])
@pytest.mark.parametrize("path", ["tokens/{}", "tokens/{}/revoke", "agent-tokens/{}", "agent-tokens/{}/revoke"])
def test_malformed_number_is_refused(path, token_id):
    api = api_as("admin")

    response = api.post(path.format(token_id)) if path.endswith("revoke") else api.get(path.format(token_id))

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["path", "token_id"]
