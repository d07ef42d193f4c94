"""Logins by the API: contract 5 and its literals."""

import time
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User

from controlplane.access.policy import LOGGED_IN_AT_KEY
from controlplane.access.services import create_api_token
from controlplane.access.sessions import SessionStore
from controlplane.common.actors import SYSTEM
from tests.factories import SessionFactory, UserFactory
from tests.integration.access.logging_in import PASSWORD, Visitor, answer
from tests.integration.api_client import Api, user_in

pytestmark = pytest.mark.django_db
NOBODY: dict[str, Any] = {
    "auth_configured": True,
    "bootstrap_required": False,
    "authenticated": False,
    "username": None,
    "role": None,
    "roles": [],
}
WRONG = (401, {"detail": "invalid username or password"})
COOKIE = "onestep_cp_console_session"


def test_nobody_can_log_in_before_the_first_user():
    visitor = Visitor()

    assert visitor.session() == NOBODY | {"auth_configured": False, "bootstrap_required": True}
    assert answer(visitor.login("admin")) == (
        503,
        {"detail": "local admin bootstrap is required before console login"},
    )


@pytest.mark.parametrize("fields", [{"is_active": False}, {"password": "!unusable"}, {"password": ""}])
def test_users_who_cannot_log_in_are_no_users(fields):
    User.objects.create(username="ann", **fields)

    assert Visitor().session()["bootstrap_required"] is True
    assert Visitor().login("ann").status_code == 503


def test_login_says_who_is_logged_in_and_so_does_the_session():
    user_in("operator", username="ann")
    visitor = Visitor()

    response = visitor.login("ann")

    info = NOBODY | {"authenticated": True, "username": "ann", "role": "operator", "roles": ["operator"]}
    assert answer(response) == (200, info)
    assert visitor.session() == info


def test_highest_role_comes_first():
    user = user_in("viewer", username="ann")
    user.groups.add(*user_in("admin").groups.all())
    visitor = Visitor()

    info = visitor.login("ann").json()

    assert (info["role"], info["roles"]) == ("admin", ["admin", "viewer"])


def test_superuser_is_admin_without_a_group():
    UserFactory(username="root", is_superuser=True)

    assert Visitor().login("root").json()["roles"] == ["admin"]


def test_user_without_a_role_may_log_in_and_out_everywhere():
    UserFactory(username="ann")
    visitor = Visitor()

    info = visitor.login("ann").json()

    assert (info["authenticated"], info["role"], info["roles"]) == (True, None, [])
    assert visitor.post("logout-all").status_code == 200


def test_cookie_is_for_http_alone_and_lasts_as_long_as_set():
    user_in("viewer", username="ann")

    cookie = Visitor().login("ann").cookies[COOKIE]

    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"], cookie["secure"]) == (
        True,
        "Lax",
        "/",
        604800,
        "",
    )


def test_cookie_is_secure_where_cookies_are(settings):
    settings.SESSION_COOKIE_SECURE = True
    user_in("viewer", username="ann")

    assert Visitor().login("ann").cookies[COOKIE]["secure"] is True


@pytest.mark.parametrize("given", ["ann", " ann ", "ANN", "\tAnn\n"])
def test_username_is_found_whatever_its_case_and_blanks(given):
    user_in("viewer", username="ann")

    assert Visitor().login(given).json()["username"] == "ann"


def test_exact_username_comes_first_and_an_ambiguous_one_is_nobody():
    UserFactory(username="ann")
    UserFactory(username="Ann")

    assert Visitor().login("ann").json()["username"] == "ann"
    assert Visitor().login("Ann").json()["username"] == "Ann"
    assert answer(Visitor().login("ANN")) == WRONG


def test_password_is_trimmed():
    UserFactory(username="ann")

    assert Visitor().login("ann", f"  {PASSWORD}\n").status_code == 200


@pytest.mark.parametrize(
    ("username", "password"), [("ann", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("ann", PASSWORD.upper())]
)
def test_wrong_credentials_are_refused_alike(username, password):
    UserFactory(username="ann")
    UserFactory(username="gone", is_active=False)

    response = Visitor().login(username, password)

    assert answer(response) == WRONG
    assert COOKIE not in response.cookies


@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        ({"password": "x"}, "missing", ["body", "username"]),
        ({"username": "x"}, "missing", ["body", "password"]),
        ({"username": "", "password": "x"}, "string_too_short", ["body", "username"]),
        ({"username": " \n", "password": "x"}, "string_too_short", ["body", "username"]),
        ({"username": "x", "password": " "}, "string_too_short", ["body", "password"]),
        ({"username": "x" * 256, "password": "x"}, "string_too_long", ["body", "username"]),
        ({"username": "x", "password": "x" * 256}, "string_too_long", ["body", "password"]),
        ({"username": 1, "password": "x"}, "string_type", ["body", "username"]),
        ({"username": "x", "password": ["x"]}, "string_type", ["body", "password"]),
        ({"username": "x\x00", "password": "x"}, "string_unstorable", ["body", "username"]),
        ({"username": "x", "password": "\ud800"}, "string_unstorable", ["body", "password"]),
        ({"username": None, "password": "x"}, "none_forbidden", ["body", "username"]),
        ({"username": "x", "password": "x", "remember": True}, "extra_forbidden", ["body", "remember"]),
        ([], "dict_type", ["body"]),
    ],
)
def test_bad_body_is_told(body, kind, loc):
    UserFactory(username="ann")

    response = Visitor().post("login", body)

    problem = response.json()["detail"][0]
    assert (response.status_code, problem["type"], problem["loc"]) == (422, kind, loc)


@pytest.mark.parametrize(
    "body",
    [{"password": "hunter2"}, {"username": "ann", "password": ["hunter2"]}, {"username": 1, "password": "hunter2"}],
)
def test_password_is_not_echoed(body):
    response = Api().post("auth/login", body)

    assert response.status_code == 422
    assert "hunter2" not in response.content.decode()


@pytest.mark.parametrize("username", ["ß" * 255, "\u0130" * 255, "用户", "a'; --", "\u202e"])
def test_strange_usernames_are_nobody(username):
    UserFactory(username="ann")

    assert answer(Visitor().login(username)) == WRONG


def test_login_ends_the_other_sessions_of_its_user_only():
    UserFactory(username="ann")
    UserFactory(username="bob")
    first, second, other = Visitor(), Visitor(), Visitor()
    first.login("ann")
    other.login("bob")

    second.login("ann")

    assert (first.is_logged_in(), second.is_logged_in(), other.is_logged_in()) == (False, True, True)


def test_login_at_the_console_ends_the_sessions_of_the_api_and_the_other_way_round():
    UserFactory(username="ann", is_superuser=True)
    program, person = Visitor(), Visitor()
    program.login("ann")

    assert person.login_at_the_console("ann").status_code == 302
    assert (program.is_logged_in(), person.is_logged_in()) == (False, True)
    program.login("ann")
    assert (program.is_logged_in(), person.is_logged_in()) == (True, False)


def test_login_gives_the_session_a_new_key():
    UserFactory(username="ann")
    UserFactory(username="bob")
    visitor = Visitor()
    keys = [visitor.login(name).cookies[COOKIE].value for name in ("ann", "ann", "bob")]

    assert len(set(keys)) == 3
    assert visitor.session()["username"] == "bob"


def test_wrong_password_leaves_the_session_as_it_is():
    UserFactory(username="ann")
    visitor = Visitor()
    visitor.login("ann")

    assert visitor.login("ann", "wrong").status_code == 401
    assert visitor.is_logged_in()


def test_logout_ends_this_session_and_clears_the_cookie():
    UserFactory(username="ann")
    visitor = Visitor()
    stolen = Visitor()
    stolen.client.cookies[COOKIE] = visitor.login("ann").cookies[COOKIE].value

    response = visitor.post("logout")

    assert answer(response) == (200, NOBODY)
    assert response.cookies[COOKIE]["max-age"] == 0
    assert not stolen.is_logged_in()


def test_logout_of_nobody_is_no_error():
    UserFactory()

    assert answer(Visitor().post("logout")) == (200, NOBODY)


def session_beside_others(user):
    """A session as two logins at the very same moment leave it: neither saw the other."""
    store = SessionStore()
    store[SESSION_KEY], store[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[-1]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    visitor = Visitor()
    visitor.client.cookies[COOKIE] = store.session_key
    return visitor


def test_logout_all_needs_a_login():
    assert answer(Visitor().post("logout-all")) == (401, {"detail": "authentication required"})


def test_logout_all_ends_every_session_of_its_user_only():
    user = UserFactory(username="ann")
    UserFactory(username="bob")
    here, other = Visitor(), Visitor()
    here.login("ann")
    other.login("bob")
    elsewhere = session_beside_others(user)

    assert elsewhere.is_logged_in()
    response = here.post("logout-all")

    assert answer(response) == (200, NOBODY)
    assert (here.is_logged_in(), elsewhere.is_logged_in(), other.is_logged_in()) == (False, False, True)


def test_login_by_the_api_is_a_recent_one(settings):
    user_in("admin", username="ann")
    visitor = Visitor()
    visitor.login("ann")
    stop = f"instances/{SessionFactory().instance_id}/commands"
    order = {"kind": "shutdown", "reason": "why"}

    assert Api(visitor.client).post(stop, order).status_code == 200
    session = visitor.client.session
    session[LOGGED_IN_AT_KEY] = time.time() - settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S - 1
    session.save()
    assert Api(visitor.client).post(stop, order).status_code == 401
    visitor.login("ann")
    assert Api(visitor.client).post(stop, order).status_code == 200


def test_logins_take_no_notice_of_a_bearer():
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("admin", username="ann"), scope="admin")
    bearer = {"Authorization": f"Bearer {secret}"}
    visitor = Visitor()

    assert visitor.post("logout-all", headers=bearer).status_code == 401
    assert visitor.login("ann", headers=bearer).status_code == 200
    assert visitor.client.get("/api/v1/auth/session", headers={"Authorization": "Bearer opt_x"}).json()["authenticated"]


def test_session_costs_no_write(django_assert_num_queries):
    user_in("viewer", username="ann")
    visitor = Visitor()
    visitor.login("ann")

    # The session, its user, the roles.
    with django_assert_num_queries(3):
        assert visitor.is_logged_in()


@pytest.mark.parametrize(
    ("verb", "path"), [("post", "session"), ("get", "login"), ("get", "logout"), ("delete", "logout-all")]
)
def test_other_verbs_are_not_found(verb, path):
    assert getattr(Visitor().client, verb)(f"/api/v1/auth/{path}").status_code == 404
