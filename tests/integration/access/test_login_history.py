"""Logins and failed logins on the console: seen by administrators, touched by nobody."""

import pytest

from controlplane.access.models import FailedLogin, SuccessfulLogin
from tests.factories import UserFactory
from tests.integration.access.logging_in import ADDRESS, Visitor
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db
LISTS = ("access_failedlogin", "access_successfullogin")


@pytest.fixture
def history():
    UserFactory(username="ann")
    for _ in range(5):
        Visitor().login("ann", "wrong")
    Visitor("198.51.100.9").login("ann")


def test_failed_logins_are_listed_with_what_locked_somebody_out(history):
    page = text_of(console_as("admin").get(url("access_failedlogin_changelist")))

    assert page.count(ADDRESS) == 5
    assert page.count("Locked out</span>") == 1


def test_list_says_how_to_lift_a_lock(history):
    page = text_of(console_as("admin").get(url("access_failedlogin_changelist")))

    assert page.count("python manage.py axes_reset_username NAME") == 1


def test_logins_are_listed(history):
    page = text_of(console_as("admin").get(url("access_successfullogin_changelist"), {"q": "198.51.100.9"}))

    assert "/api/v1/auth/login" in page


@pytest.mark.parametrize("name", LISTS)
def test_one_attempt_is_shown_in_words(history, name):
    model = {"access_failedlogin": FailedLogin, "access_successfullogin": SuccessfulLogin}[name]

    page = text_of(console_as("admin").get(url(f"{name}_change", model.objects.earliest("pk").pk)))

    assert "/api/v1/auth/login" in page
    assert "http_accept" not in page


def test_history_is_found_by_address(history):
    page = console_as("admin").get(url("access_failedlogin_changelist"), {"q": "198.51.100.9"})

    assert page.context["cl"].result_count == 0


def test_history_is_found_by_any_spelling_of_a_username(history):
    page = console_as("admin").get(url("access_failedlogin_changelist"), {"q": " ANN"})

    assert page.context["cl"].result_count == 5


def test_list_of_people_leads_to_their_logins(history):
    page = text_of(console_as("admin").get(url("auth_user_changelist"), {"q": "ann"}))

    assert f'href="{url("access_successfullogin_changelist")}?q=ann"' in page


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 403), ("admin", 200)])
def test_history_is_for_administrators(name, role, status):
    assert console_as(role).get(url(f"{name}_changelist")).status_code == status


@pytest.mark.parametrize("name", LISTS)
def test_history_is_in_the_menu_of_administrators_alone(name):
    link = f'href="{url(f"{name}_changelist")}"'

    assert link in text_of(console_as("admin").get("/admin/"))
    assert link not in text_of(console_as("operator").get("/admin/"))


def test_nobody_adds_changes_or_deletes_history(history):
    client = console_as("superuser")

    for name, model in zip(LISTS, (FailedLogin, SuccessfulLogin), strict=True):
        row = model.objects.first()
        assert client.get(url(f"{name}_add")).status_code == 403
        assert client.post(url(f"{name}_change", row.pk), {"username": "x"}).status_code == 403
        assert client.post(url(f"{name}_delete", row.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("count", [1, 3])
def test_list_costs_the_same_for_any_number_of_rows(django_assert_max_num_queries, count):
    client = console_as("superuser")
    for number in range(count):
        FailedLogin.objects.create(username=f"user-{number}", user_agent="", http_accept="", path_info="")
    client.get(url("access_failedlogin_changelist"))

    with django_assert_max_num_queries(8):
        client.get(url("access_failedlogin_changelist"))


@pytest.mark.parametrize("query", ["x\x00", "%ff", "'"])
def test_any_search_is_answered(query):
    assert console_as("superuser").get(url("access_failedlogin_changelist"), {"q": query}).status_code in {200, 302}
