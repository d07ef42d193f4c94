"""Archive, restore and forget on the console."""

import re

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME

from agents.models import Event, Instance, Removal, Service
from agents.services.archive import archive_instance, archive_service
from agents.services.forgetting import forget_service
from controlplane.common.actors import SYSTEM
from tasks_app.services.removal import remove_forgotten
from tests.factories import InstanceFactory, SessionFactory
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    return console_as("operator")


@pytest.fixture
def absent():
    return InstanceFactory(offline=True)


def listed(client, view, **query):
    return [row.pk for row in client.get(url(view), query).context["cl"].result_list]


def test_lists_leave_out_what_is_archived_unless_asked(operator, absent):
    other = InstanceFactory(offline=True)
    archive_service(absent.service, actor=SYSTEM)

    for view, gone, there in (
        ("agents_instance_changelist", absent, other),
        ("agents_service_changelist", absent.service, other.service),
    ):
        assert listed(operator, view) == [there.pk]
        assert listed(operator, view, archived="true") == [gone.pk]
        assert set(listed(operator, view, archived="all")) == {there.pk, gone.pk}


@pytest.mark.parametrize("of", ["instance", "service"])
def test_the_page_archives_and_restores(operator, absent, of):
    row = absent if of == "instance" else absent.service
    page = url(f"agents_{of}_change", row.pk)

    archived = operator.post(url(f"agents_{of}_archive", row.pk), follow=True)

    assert archived.redirect_chain == [(page, 302)]
    assert "Archived since" in text_of(archived)
    row.refresh_from_db()
    assert row.archived_at is not None
    assert Event.objects.get(kind=f"{of}.archived").actor == operator.person.username
    operator.post(url(f"agents_{of}_restore", row.pk))
    row.refresh_from_db()
    assert row.archived_at is None


def test_who_is_online_stays_and_the_page_says_why(operator):
    online = InstanceFactory(online=True)

    answer = operator.post(url("agents_instance_archive", online.pk), follow=True)

    assert "online or connected" in said(answer)[0]
    assert Instance.objects.filter(archived_at=None).exists()


def button_of(text, words):
    """The attributes of the button or link that says this; of several, the first."""
    return re.search(rf"<(button|a)([^>]*)><span[^>]*>\w+</span>{words}</", text).group(2)


@pytest.mark.parametrize("of", ["instance", "service"])
@pytest.mark.parametrize("how", ["online", "connected"])
def test_what_is_there_has_its_buttons_disabled_and_says_why(of, how):
    client = console_as("admin")
    instance = InstanceFactory(online=True) if how == "online" else SessionFactory(instance__offline=True).instance
    row = instance if of == "instance" else instance.service

    text = text_of(client.get(url(f"agents_{of}_change", row.pk)))
    forget = text_of(client.get(url(f"agents_{of}_forget", row.pk)))

    for words in ("Archive", "Download everything, then forget"):
        assert "disabled" in button_of(text, words)
    assert "disabled" not in button_of(text, "Download everything")
    assert "disabled" in button_of(forget, "Forget it for good")
    for page in (text, forget):
        assert "online or connected. Stop it" in page


@pytest.mark.parametrize("of", ["instance", "service"])
def test_what_is_gone_has_its_buttons(absent, of):
    row = absent if of == "instance" else absent.service

    text = text_of(console_as("admin").get(url(f"agents_{of}_change", row.pk)))

    for words in ("Archive", "Download everything, then forget"):
        assert "disabled" not in button_of(text, words)
    assert "why-not" not in text


def test_the_live_part_of_the_page_follows(absent):
    client = console_as("operator")
    live = url("agents_instance_live", absent.pk)

    before = button_of(text_of(client.get(live)), "Archive")
    Instance.objects.filter(pk=absent.pk).update(connectivity="online")
    after = button_of(text_of(client.get(live)), "Archive")

    assert ("disabled" in before, "disabled" in after) == (False, True)


def test_a_list_action_tells_how_many_and_how_many_not(operator, absent):
    rows = [absent, InstanceFactory(offline=True), InstanceFactory(online=True)]
    chosen = {ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows]}

    answer = operator.post(url("agents_instance_changelist"), {"action": "archive_selected", **chosen}, follow=True)

    assert said(answer) == ["2 instances archived.", "1 instance left as it is: it is online or connected."]
    query = "?archived=true"
    operator.post(url("agents_instance_changelist") + query, {"action": "restore_selected", **chosen})
    assert not Instance.objects.filter(archived_at__isnull=False).exists()


def test_a_list_action_archives_services(operator, absent):
    online = InstanceFactory(online=True)
    chosen = {ACTION_CHECKBOX_NAME: [absent.service.pk, online.service.pk]}

    answer = operator.post(url("agents_service_changelist"), {"action": "archive_selected", **chosen}, follow=True)

    assert said(answer)[0] == "1 service archived."
    assert list(Service.objects.filter(archived_at__isnull=False)) == [absent.service]


def test_a_list_action_restores_services_and_says_which_are_being_forgotten(operator, absent):
    leaving = InstanceFactory(offline=True).service
    archive_service(absent.service, actor=SYSTEM)
    forget_service(leaving, name=leaving.name, actor=SYSTEM)
    chosen = {ACTION_CHECKBOX_NAME: [absent.service.pk, leaving.pk]}

    answer = operator.post(
        url("agents_service_changelist") + "?archived=true", {"action": "restore_selected", **chosen}, follow=True
    )

    assert said(answer) == ["1 service restored.", f"{leaving} is being forgotten already."]
    assert list(Service.objects.filter(archived_at=None)) == [absent.service]


@pytest.mark.parametrize("of", ["instance", "service"])
def test_forgetting_asks_for_the_name_and_tells_how_far_it_is(absent, of):
    client = console_as("admin")
    row, name = (absent, absent.node_name) if of == "instance" else (absent.service, absent.service.name)
    page = url(f"agents_{of}_forget", row.pk)

    shown = client.get(page)
    wrong = client.post(page, {"name": "x"})
    right = client.post(page, {"name": name}, follow=True)

    assert f"<code>{name}</code>" in text_of(shown)
    assert "/export" in text_of(shown)
    assert wrong.status_code == 422
    removal = Removal.objects.get()
    assert right.redirect_chain == [(url("agents_removal_change", removal.pk), 302)]
    assert "Being removed" in text_of(right)
    assert "being forgotten" in text_of(client.get(url(f"agents_{of}_change", row.pk)))
    assert remove_forgotten()
    done = text_of(client.get(url("agents_removal_change", removal.pk)))
    assert "Being removed" not in done
    assert client.get(url("agents_removal_changelist")).status_code == 200


def test_forgetting_takes_an_administrator_and_a_recent_login(operator, absent):
    page = url("agents_instance_forget", absent.pk)
    late = console_as("admin", logged_in_s_ago=10**6)

    assert operator.get(page).status_code == 403
    assert "login-again" in late.post(page, {"name": absent.node_name}).url
    assert Removal.objects.count() == 0
    assert "forget" not in text_of(operator.get(url("agents_instance_change", absent.pk)))


def test_a_viewer_gets_no_buttons(absent):
    viewer = console_as("viewer")
    archive_instance(absent, actor=SYSTEM)

    page = text_of(viewer.get(url("agents_instance_change", absent.pk)))

    assert "Archived since" in page
    assert "restore/" not in page
    assert viewer.post(url("agents_instance_restore", absent.pk)).status_code == 403
