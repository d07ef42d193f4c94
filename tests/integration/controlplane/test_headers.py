"""What answers let browsers do, by kind of answer."""

import re

import pytest
from django.contrib import admin

from tests.factories import CommandFactory, InstanceFactory
from tests.integration.api_client import api_as
from tests.integration.console import console_as, url

pytestmark = pytest.mark.django_db
PAGE = {
    "default-src": "'self'",
    "script-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
CONSOLE = PAGE | {"script-src": "'self' 'unsafe-eval'", "style-src": "'self' 'unsafe-inline'"}
API_DOCS = PAGE | {"style-src": "'self' 'unsafe-inline'", "img-src": "'self' data:"}
DATA = {"default-src": "'none'", "frame-ancestors": "'none'"}


def policy(response):
    return dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))


def test_pages_of_the_console_run_files_of_this_portal_alone():
    client = console_as("superuser")
    instance = InstanceFactory()

    for path in (
        "/admin/",
        url("agents_instance_changelist"),
        url("agents_instance_change", instance.pk),
        url("auth_user_add"),
        "/admin/login-again/",
    ):
        response = client.get(path)
        assert (response.status_code, policy(response)) == (200, CONSOLE), path


def test_login_page_is_one_of_the_console(client):
    assert policy(client.get("/admin/login/")) == CONSOLE


@pytest.mark.parametrize(("path", "status"), [("/", 302), ("/nothing", 404), ("/static/nothing.css", 404)])
def test_other_pages_have_nothing_inline_at_all(client, path, status):
    response = client.get(path)

    assert (response.status_code, policy(response)) == (status, PAGE)


def test_api_docs_style_inline_and_run_their_script_as_a_file():
    client = console_as()

    page = client.get("/api/docs/")
    script = client.get("/api/docs/?script=")

    assert policy(page) == API_DOCS
    assert re.findall(r"<script(?![^>]*\bsrc=)", page.content.decode()) == []
    assert 'src="/api/docs/?script="' in page.content.decode()
    assert (script.status_code, script["Content-Type"]) == (200, "application/javascript")
    assert b"SwaggerUIBundle(" in script.content


def test_script_of_the_api_docs_needs_a_login(client):
    assert client.get("/api/docs/?script=").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/auth/session", "/api/v1/services", "/api/v1/nothing"])
def test_data_runs_and_loads_nothing(client, path):
    assert policy(client.get(path)) == DATA


def test_data_of_the_console_runs_and_loads_nothing():
    assert policy(console_as().get("/admin/jsi18n/")) == DATA


def pages_of_the_console():
    yield "/admin/"
    yield "/admin/login-again/"
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        yield from (url(f"{name}_changelist"), url(f"{name}_add"))
    yield url("agents_instance_change", CommandFactory().instance.pk)


def test_no_page_of_the_console_has_an_inline_script():
    client = console_as("superuser")

    for path in pages_of_the_console():
        page = client.get(path).content.decode()
        # JSON in a script element is data.
        scripts = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>\s*\S", page)
        assert (scripts, re.findall(r"\son[a-z]+\s*=\s*\"", page)) == ([], []), path


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/auth/session", "/healthz"])
def test_every_answer_withholds_devices_frames_and_openers(client, path):
    headers = client.get(path).headers

    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_programs_get_the_same():
    api = api_as("viewer")

    assert policy(api.get("services")) == DATA
