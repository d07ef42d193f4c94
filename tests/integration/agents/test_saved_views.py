"""Saved views: filters with a name above a list, one's own or shared."""

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from agents.models import Event, SavedView
from agents.services.saved_views import save_view
from controlplane.common.actors import Actor
from controlplane.common.errors import Conflict, Invalid
from tests.factories import CommandFactory, EventFactory, UserFactory
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db
QUERY = "level=error&since=7d"


def save(client, *, list_name="agents.event", name="Errors", query=QUERY, **more):
    return client.post(reverse("view_save"), {"list": list_name, "name": name, "query": query, **more})


def test_a_saved_view_leads_back_to_what_was_shown():
    client = console_as()
    EventFactory(kind="task.failed", level="error")

    answer = save(client, query=f"{QUERY}&before=20260101T000000.0-1&q=")
    view = SavedView.objects.get()
    page = text_of(client.get(url("agents_event_changelist")))

    assert answer.url == f"{url('agents_event_changelist')}?{QUERY}"
    assert (view.list_name, view.query, view.owner) == ("agents.event", QUERY, client.person)
    assert f'href="{url("agents_event_changelist")}?level=error&amp;since=7d"' in page


def test_others_see_a_view_only_where_it_is_shared():
    mine = console_as("operator", username="ann")
    save(mine, name="Mine")
    save(mine, name="Ours", is_shared="on")
    Event.objects.all().delete()

    page = text_of(console_as("viewer").get(url("agents_event_changelist")))

    assert "Ours" in page
    assert "Shared by ann" in page
    assert "Mine" not in page


def test_a_view_is_renamed_shared_and_deleted_with_an_event_for_each():
    client = console_as()
    save(client)
    view = SavedView.objects.get()

    client.post(reverse("view_change", args=[view.pk]), {"name": "All errors", "is_shared": "on"})
    view.refresh_from_db()
    assert (view.name, view.is_shared) == ("All errors", True)
    client.post(reverse("view_delete", args=[view.pk]))

    assert not SavedView.objects.exists()
    told = Event.objects.filter(subject=f"agents.savedview:{view.pk}").order_by("id")
    assert list(told.values_list("kind", flat=True)) == ["object.created", "object.changed", "object.deleted"]


@pytest.mark.parametrize("act", ["view_change", "view_delete"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_nobody_changes_the_view_of_another(act, is_shared):
    owner = UserFactory(role="operator")
    view = SavedView.objects.create(
        list_name="agents.event", name="Errors", query=QUERY, owner=owner, is_shared=is_shared
    )
    client = console_as("admin")

    answer = client.post(reverse(act, args=[view.pk]), {"name": "Taken"}, follow=True)

    view.refresh_from_db()
    assert view.name == "Errors"
    assert (owner.get_username() in said(answer)[0]) == is_shared


def test_a_superuser_deletes_a_shared_view():
    view = SavedView.objects.create(
        list_name="agents.event", name="Errors", query=QUERY, owner=UserFactory(), is_shared=True
    )

    console_as("superuser").post(reverse("view_delete", args=[view.pk]))

    assert not SavedView.objects.exists()


@pytest.mark.parametrize("list_name", ["auth.user", "nothing", "agents.nothing", "a.b.c", ""])
def test_no_view_is_saved_of_a_list_that_one_may_not_see(list_name):
    assert save(console_as("viewer"), list_name=list_name).status_code == (403 if list_name == "auth.user" else 404)
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\u200bb\n"])
def test_a_view_needs_a_name(name):
    client = console_as()

    answer = client.get(save(client, name=name).url)

    assert said(answer)
    assert not SavedView.objects.exists()


def test_one_person_has_one_view_of_a_name_for_a_list():
    person = UserFactory()
    common = {"name": "Errors", "query": QUERY, "is_shared": False, "actor": Actor("ann")}
    save_view(list_name="agents.event", owner=person, **common)
    save_view(list_name="agents.command", owner=person, **common)
    save_view(list_name="agents.event", owner=UserFactory(), **common)

    with pytest.raises(Conflict):
        save_view(list_name="agents.event", owner=person, **common)


def test_filters_that_are_too_long_are_not_saved():
    with pytest.raises(Invalid):
        save_view(
            list_name="agents.event", name="x", query="q=" + "x" * 5000, is_shared=False, owner=UserFactory(),
            actor=Actor("ann"),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["agents_command", "agents_instance", "agents_session", "tasks_app_task"])
def test_lists_of_the_fleet_have_views_too(name):
    client = console_as()
    CommandFactory()
    list_name = name.replace("_", ".") if not name.startswith("tasks") else "tasks_app.task"

    save(client, list_name=list_name, name="Mine", query="q=web")

    assert f'href="{url(f"{name}_changelist")}?q=web"' in text_of(client.get(url(f"{name}_changelist")))


def test_views_go_with_their_person():
    client = console_as()
    save(client)

    client.person.delete()

    assert not SavedView.objects.exists()
    assert Group.objects.exists()
