"""The console around the pages of the apps: doors for browsers, schedules, forms for people."""

import pytest
from django.contrib.auth.models import User
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tests.factories import UserFactory
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/api/docs/", "/api/schema/"])
def test_browsers_are_led_to_the_login_and_programs_are_refused(client, path):
    person = client.get(path, headers={"Accept": "text/html,*/*"})
    program = client.get(path, headers={"Accept": "*/*"})
    wrong_token = client.get(path, headers={"Accept": "text/html,*/*", "Authorization": "Bearer opt_x"})

    assert (person.status_code, person["Location"]) == (302, f"/admin/login/?next={path}")
    assert (program.status_code, wrong_token.status_code) == (401, 401)
    assert console_as().get(path, headers={"Accept": "text/html,*/*"}).status_code == 200


def test_api_docs_are_linked_from_the_sidebar():
    assert 'href="/api/docs/"' in text_of(console_as().get("/admin/"))


def test_favicon_is_found_without_a_page(client):
    assert client.get("/favicon.ico")["Location"].startswith("/static/console/favicon")


def schedule(name):
    every = IntervalSchedule.objects.get_or_create(every=5, period="seconds")[0]
    return PeriodicTask.objects.create(name=name, task="agents.tasks.sweep_liveness", interval=every)


def test_the_schedules_of_the_portal_are_only_shown():
    own, other = schedule("sweep-liveness"), schedule("mine")
    client = console_as("superuser")
    change = "django_celery_beat_periodictask_change"

    page = text_of(client.get(url(change, own.pk)))

    assert "This schedule is part of the portal" in page
    assert "_save" not in page
    assert client.post(url(change, own.pk), {"name": "x"}).status_code == 403
    assert "_save" in text_of(client.get(url(change, other.pk)))
    client.post(
        url("django_celery_beat_periodictask_changelist"),
        {"action": "disable_tasks", "_selected_action": [own.pk, other.pk]},
    )
    assert list(PeriodicTask.objects.filter(enabled=True)) == [own]


def test_kinds_of_schedules_are_in_no_menu():
    page = console_as("superuser").get("/admin/django_celery_beat/")

    assert [model["object_name"] for model in page.context["app_list"][0]["models"]] == ["PeriodicTask"]


def test_tab_titles_are_the_plural_name_alone():
    assert "<title> Sessions | " in " ".join(text_of(console_as().get(url("agents_session_changelist"))).split())


def test_forms_for_people_speak_of_roles_and_passwords_alone():
    client = console_as("superuser")
    person = UserFactory()
    pages = [
        text_of(client.get(path))
        for path in (
            url("auth_user_add"),
            url("auth_user_change", person.pk),
            url("auth_user_password_change", person.pk),
        )
    ]

    for page in pages:
        assert "LDAP" not in page
        assert "user_permissions" not in page


def test_nobody_is_made_without_a_password():
    client = console_as("superuser")
    data = {"username": "ann", "password1": "", "password2": "", "is_staff": "on", "usable_password": "false"}

    refused = client.post(url("auth_user_add"), data)
    made = client.post(url("auth_user_add"), {**data, "password1": "a-long-Secret-9", "password2": "a-long-Secret-9"})

    assert refused.status_code == 200
    assert made.status_code == 302
    assert User.objects.get(username="ann").check_password("a-long-Secret-9")
