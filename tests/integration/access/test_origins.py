"""Which pages may act with somebody's cookie, and which may read what the API answers."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import SessionFactory, UserFactory
from tests.integration.access.logging_in import PASSWORD, Visitor
from tests.integration.api_client import Api, api_as, user_in

pytestmark = pytest.mark.django_db
CONSOLE = "https://console.example.com"
OWN = "http://testserver"
TRUSTED = [
    {},
    {"Origin": OWN},
    {"Origin": OWN.upper()},
    {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
    {"Origin": OWN, "Referer": "https://evil.example/"},
    {"Referer": f"{OWN}/some/page?x=1"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]
FOREIGN = [
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver:8001"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "null", "Referer": f"{OWN}/"},
    {"Referer": "https://evil.example/?http://testserver"},
    {"Referer": "http://testserver@evil.example/"},
    {"Referer": "http://[broken"},
    {"Referer": "about:blank"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "x\u00ff"},
]


def ping(client, headers):
    path = f"instances/{SessionFactory().instance_id}/commands"
    return Api(client, headers).post(path, {"kind": "ping"})


@pytest.fixture
def person():
    client = Client(enforce_csrf_checks=True)
    client.force_login(user_in("operator", username="ann"))
    return client


@pytest.mark.parametrize("headers", TRUSTED)
def test_own_pages_and_programs_may_command_with_a_cookie(person, headers):
    assert ping(person, headers).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
def test_foreign_pages_may_not_command_with_a_cookie(person, headers):
    response = ping(person, headers)

    assert response.status_code == 403
    assert response.json()["detail"].startswith("cross-site request refused: it comes from ")


@pytest.mark.parametrize("headers", FOREIGN)
def test_foreign_pages_may_read_nothing_that_they_could_not_but_are_answered(person, headers):
    response = person.get("/api/v1/services", headers=headers)

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response


@pytest.mark.parametrize("path", ["login", "logout", "logout-all"])
def test_foreign_pages_log_nobody_in_or_out(path):
    UserFactory(username="ann")
    visitor = Visitor()
    visitor.login("ann")
    body = {"username": "ann", "password": PASSWORD} if path == "login" else {}

    for headers in FOREIGN:
        assert visitor.post(path, body, headers).status_code == 403
    assert visitor.is_logged_in()
    assert visitor.post(path, body, {"Origin": OWN}).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
def test_foreign_pages_do_not_log_in_a_visitor_who_is_nobody_yet(headers):
    UserFactory(username="ann")
    visitor = Visitor()

    assert visitor.login("ann", headers=headers).status_code == 403
    assert not visitor.is_logged_in()


@pytest.mark.parametrize(
    ("trusted", "origin", "status"),
    [
        ("https://console.example.com", CONSOLE, 200),
        ("https://*.example.com", CONSOLE, 200),
        ("https://*.example.com", "https://example.com", 200),
        ("https://*.example.com", "http://console.example.com", 403),
        ("https://*.example.com", "https://console.example.com.evil.example", 403),
        ("https://*.example.com", "https://evilexample.com", 403),
        ("https://console.example.com", "https://console.example.com:8443", 403),
    ],
)
def test_origins_trusted_for_forms_are_trusted_here(settings, person, trusted, origin, status):
    settings.CSRF_TRUSTED_ORIGINS = [trusted]

    assert ping(person, {"Origin": origin}).status_code == status


def test_origins_that_may_read_may_command(settings, person):
    settings.CORS_ALLOWED_ORIGINS = [CONSOLE]

    assert ping(person, {"Origin": CONSOLE, "Sec-Fetch-Site": "same-site"}).status_code == 200
    assert ping(person, {"Origin": "https://other.example.com"}).status_code == 403


@pytest.mark.parametrize(("origin", "status"), [("https://portal.example", 200), ("http://portal.example", 403)])
def test_own_origin_is_what_the_proxy_says(settings, person, origin, status):
    settings.ALLOWED_HOSTS = ["portal.example"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = {"Host": "portal.example", "X-Forwarded-Proto": "https", "Origin": origin}

    assert ping(person, headers).status_code == status


def test_tokens_are_no_cookies_and_come_from_anywhere():
    api = api_as("operator")

    assert ping(api.client, api.headers | {"Origin": "https://evil.example"}).status_code == 200


def test_nobody_is_asked_for_a_login_before_an_origin():
    assert ping(Client(), {"Origin": "https://evil.example"}).status_code == 401


def test_forms_of_the_console_keep_their_token(person):
    User.objects.update(is_superuser=True)

    response = person.post("/admin/auth/user/add/", {"username": "x"}, headers={"Origin": OWN})

    assert response.status_code == 403


def cors(response):
    return {name[15:]: value for name, value in response.headers.items() if name.lower().startswith("access-control-")}


def preflight(client, path, origin=CONSOLE):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    return client.options(path, headers=headers)


@pytest.fixture
def allowed(settings):
    settings.CORS_ALLOWED_ORIGINS = [CONSOLE]


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/api/v1/services", "/api/v1/nothing"])
def test_preflight_of_an_allowed_origin_is_answered(client, allowed, path):
    response = preflight(client, path)

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "content-type" in response.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://console.example.com", f"{CONSOLE}.evil.example"]
)
def test_preflight_of_another_origin_allows_nothing(client, allowed, origin):
    assert cors(preflight(client, "/api/v1/services", origin)) == {}


def test_options_without_a_preflight_is_no_verb_of_the_api(client, allowed):
    assert client.options("/api/v1/services", headers={"Origin": CONSOLE}).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/auth/session", 200), ("/api/v1/services", 401), ("/api/v1/nothing", 404)]
)
def test_answers_and_errors_may_be_read_by_an_allowed_origin_alone(client, allowed, path, status):
    theirs = client.get(path, headers={"Origin": CONSOLE})
    others = client.get(path, headers={"Origin": "https://evil.example"})

    assert (theirs.status_code, theirs.headers["Access-Control-Allow-Origin"]) == (status, CONSOLE)
    assert cors(others) == {}
    assert "origin" in others.headers["Vary"].lower()


def test_a_fault_of_ours_may_be_read_by_an_allowed_origin(allowed, monkeypatch):
    monkeypatch.setattr("controlplane.access.api.views.session_info", None)
    client = Client(raise_request_exception=False)

    response = client.get("/api/v1/auth/session", headers={"Origin": CONSOLE})

    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (500, CONSOLE)


@pytest.mark.parametrize("path", ["/admin/login/", "/healthz", "/static/console/console.css"])
def test_pages_may_be_read_by_no_origin(client, allowed, path):
    response = client.get(path, headers={"Origin": CONSOLE})
    response.close()

    assert (response.status_code, cors(response)) == (200, {})


def test_a_console_of_an_allowed_origin_logs_in_and_commands(allowed):
    user_in("operator", username="ann")
    visitor = Visitor()
    theirs = {"Origin": CONSOLE, "Sec-Fetch-Site": "same-site"}

    assert visitor.login("ann", headers=theirs).status_code == 200
    assert ping(visitor.client, theirs).status_code == 200
