"""People, groups and API tokens on the console, and what each role may do there at all."""

from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import RequestFactory
from django.urls import reverse

from agents.models import Group as SavedGroup
from controlplane.access.models import ApiToken
from controlplane.access.services import use_api_token
from tests.factories import ApiTokenFactory, UserFactory
from tests.integration.api_client import user_in
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db
OLD_LOGIN_S = 3600

# Which list actions each role is offered; what is not here, nobody but a superuser is.
SEND = {"send_ping", "send_sync_now", "send_flush_metrics", "send_flush_events"}
LABEL = {"set_labels"}
ARCHIVE = {"archive_selected", "restore_selected"}
STOP = {"send_drain", "send_restart", "send_shutdown"}
ACTIONS = {
    "viewer": {},
    "operator": {
        "Instance": SEND | LABEL | ARCHIVE,
        "Service": ARCHIVE,
        "Node": LABEL | ARCHIVE,
        "Command": {"cancel_selected"},
        "agents.Group": {"delete_selected"},
    },
    "admin": {
        "Instance": SEND | LABEL | ARCHIVE | STOP,
        "Service": ARCHIVE,
        "Node": LABEL | ARCHIVE,
        "agents.Group": {"delete_selected"},
        "Command": {"cancel_selected"},
        "AgentToken": {"revoke_selected"},
        "ApiToken": {"revoke_selected"},
    },
}
ADDED_BY = {
    "viewer": set(),
    "operator": {"agents.Group"},
    "admin": {"agents.Group", "AgentToken", "ApiToken", "User", "Group"},
}


def called(model):
    """The name of a model; groups of instances by that of their app too, since people have groups as well."""
    return model._meta.label if model is SavedGroup else model.__name__


@pytest.mark.parametrize("role", ACTIONS)
def test_every_action_is_offered_to_whom_the_table_says(role):
    request = RequestFactory().get("/admin/")
    request.user = console_as(role).person

    offered = {
        called(model): set(model_admin.get_actions(request))
        for model, model_admin in admin.site._registry.items()
        if model_admin.has_view_permission(request) and model_admin.get_actions(request)
    }
    added = {
        called(model) for model, model_admin in admin.site._registry.items() if model_admin.has_add_permission(request)
    }

    assert offered == ACTIONS[role]
    assert added == ADDED_BY[role]


def user_form(user, **changes):
    return {
        "username": user.username,
        "first_name": "",
        "last_name": "",
        "email": "",
        "is_active": "on",
        "is_staff": "on",
        "groups": [],
        **changes,
    }


def test_admin_makes_nobody_a_superuser():
    user = UserFactory()
    client = console_as("admin")

    client.post(url("auth_user_change", user.pk), user_form(user, is_superuser="on", first_name="Ada"))

    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert not user.is_superuser


def test_nobody_changes_when_somebody_joined_or_logged_in():
    user = UserFactory()
    moments = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00", "last_login_0": "", "last_login_1": ""}

    console_as("superuser").post(url("auth_user_change", user.pk), user_form(user, first_name="Ada", **moments))

    changed = User.objects.get(pk=user.pk)
    assert (changed.first_name, changed.date_joined) == ("Ada", user.date_joined)


def test_page_of_a_user_names_the_offset_of_its_times():
    user = UserFactory()

    page = text_of(console_as("admin").get(url("auth_user_change", user.pk)))

    assert f'datetime="{user.date_joined.isoformat()}"' in page
    assert " UTC</time>" in page


def test_admin_touches_no_superuser():
    root = console_as("superuser").person
    client = console_as("admin")

    changed = client.post(url("auth_user_change", root.pk), user_form(root, is_active=""))
    password = client.post(
        url("auth_user_password_change", root.pk), {"password1": "n3w-password", "password2": "n3w-password"}
    )

    assert (changed.status_code, password.status_code) == (403, 403)
    root.refresh_from_db()
    assert root.is_active
    assert root.check_password("password")


def test_admin_adds_an_operator():
    group = Group.objects.get_or_create(name="operator")[0]

    console_as("admin").post(
        url("auth_user_add"),
        {
            "username": "otto",
            "usable_password": "true",
            "password1": "a-long-Pa55word",
            "password2": "a-long-Pa55word",
            "groups": [group.pk],
            "is_staff": "on",
        },
    )

    otto = User.objects.get(username="otto")
    assert list(otto.groups.all()) == [group]
    assert otto.is_staff


def test_role_groups_are_neither_renamed_nor_deleted():
    client = console_as("superuser")
    console_as("viewer")
    group = Group.objects.get(name="viewer")

    client.post(url("auth_group_change", group.pk), {"name": "renamed", "permissions": []})
    deleted = client.post(url("auth_group_delete", group.pk), {"post": "yes"})

    assert deleted.status_code == 403
    group.refresh_from_db()
    assert group.name == "viewer"


@pytest.mark.parametrize("name", ["admin", "viewer", "own"])
def test_admin_gives_no_group_permissions(name):
    client = console_as("admin")
    group = Group.objects.get_or_create(name=name)[0]
    before = set(group.permissions.all())
    everything = list(Permission.objects.values_list("pk", flat=True))

    page = client.post(url("auth_group_change", group.pk), {"name": name, "permissions": everything})

    assert page.status_code == 302
    assert set(group.permissions.all()) == before
    assert client.get(url("auth_group_change", group.pk)).status_code == 200


def test_admin_adds_a_group_without_permissions():
    client = console_as("admin")
    everything = list(Permission.objects.values_list("pk", flat=True))

    client.post(url("auth_group_add"), {"name": "team", "permissions": everything})

    assert Group.objects.get(name="team").permissions.count() == 0


def test_superuser_gives_a_group_permissions():
    group = Group.objects.create(name="team")
    permission = delete_user()

    console_as("superuser").post(url("auth_group_change", group.pk), {"name": "team", "permissions": [permission.pk]})

    assert list(group.permissions.all()) == [permission]


def test_admin_gives_nobody_single_permissions():
    user = UserFactory()

    console_as("admin").post(
        url("auth_user_change", user.pk), user_form(user, first_name="Ada", user_permissions=[delete_user().pk])
    )

    user.refresh_from_db()
    assert (user.first_name, user.user_permissions.count()) == ("Ada", 0)


def test_admin_puts_people_into_roles_and_into_no_group_above():
    client = console_as("admin")
    user = UserFactory()
    role = Group.objects.get(name="admin")
    above = Group.objects.create(name="above")
    above.permissions.add(delete_user())

    refused = client.post(url("auth_user_change", user.pk), user_form(user, groups=[role.pk, above.pk]))
    assert (refused.status_code, user.groups.count()) == (200, 0)

    client.post(url("auth_user_change", user.pk), user_form(user, groups=[role.pk]))
    assert list(user.groups.all()) == [role]


@pytest.mark.parametrize("through", ["group", "person"])
@pytest.mark.parametrize("is_active", [True, False])
def test_admin_touches_nobody_who_may_do_more(through, is_active):
    user = UserFactory(is_active=is_active)
    if through == "group":
        above = Group.objects.create(name="above")
        above.permissions.add(delete_user())
        user.groups.add(above)
    else:
        user.user_permissions.add(delete_user())
    client = console_as("admin")

    changed = client.post(url("auth_user_change", user.pk), user_form(user, first_name="Ada"))
    password = client.post(
        url("auth_user_password_change", user.pk), {"password1": "n3w-password", "password2": "n3w-password"}
    )

    assert (changed.status_code, password.status_code) == (403, 403)


def delete_user():
    """A permission that no role has."""
    return Permission.objects.get(codename="delete_user", content_type__app_label="auth")


def test_api_token_is_shown_once():
    client = console_as("admin")
    user = UserFactory(role="viewer")

    page = client.post(url("access_apitoken_add"), {"name": "ci", "user": user.pk, "scope": "read"})

    secret = page.context["secret"]
    assert use_api_token(secret).user == user
    assert secret in text_of(page)
    assert "no-store" in page["Cache-Control"]
    token = ApiToken.objects.get()
    assert secret not in text_of(client.get(url("access_apitoken_change", token.pk)))


def test_admin_makes_no_token_that_acts_as_a_superuser():
    root = console_as("superuser").person

    page = console_as("admin").post(url("access_apitoken_add"), {"name": "ci", "user": root.pk, "scope": "admin"})

    assert page.status_code == 200
    assert ApiToken.objects.count() == 0


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    "view", ["auth_user_add", "auth_group_add", "access_apitoken_add", "auth_user_password_change"]
)
def test_old_login_makes_no_rights_but_is_asked_again(view, method):
    client = console_as("admin", logged_in_s_ago=OLD_LOGIN_S)
    page = url(view, *([client.person.pk] if view == "auth_user_password_change" else []))

    answer = getattr(client, method)(page)

    assert (answer.status_code, answer["Location"]) == (302, f"{reverse('login_again')}?{urlencode({'next': page})}")


def test_old_login_reads_of_people_and_changes_nobody():
    client = console_as("admin", logged_in_s_ago=OLD_LOGIN_S)
    page = url("auth_user_change", user_in("viewer").pk)

    assert client.get(page).status_code == 200
    assert client.post(page, {})["Location"].startswith(reverse("login_again"))


def test_api_token_is_revoked():
    token = ApiTokenFactory(secret="opt_known")

    page = console_as("admin").post(url("access_apitoken_revoke", token.pk), follow=True)

    assert said(page) == [f"{token.name} was revoked."]
    assert use_api_token("opt_known") is None


def test_operator_sees_neither_tokens_nor_users():
    client = console_as("operator")

    assert client.get(url("access_apitoken_changelist")).status_code == 403
    assert client.get(url("auth_user_changelist")).status_code == 403
    assert url("auth_user_changelist") not in text_of(client.get(url("index")))


def test_language_is_switched_and_kept():
    client = console_as()

    client.post("/admin/language/setlang/", {"language": "zh-hans", "next": "/admin/"})

    assert "总览" in text_of(client.get(url("index")))


def test_groups_are_ticked_by_the_words_of_their_roles():
    page = text_of(console_as("admin").get(url("auth_user_add"), headers={"accept-language": "zh-hans"}))

    assert [words in page for words in ("管理员", "操作员", "只读用户")] == [True, True, True]


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/admin/agents/instance/nope/change/", 404)])
def test_missing_page_leads_back_to_the_overview(path, status):
    page = console_as("viewer").get(path)

    assert page.status_code == status
    assert 'href="/admin/"' in text_of(page)


def test_refused_page_says_whom_to_ask():
    page = console_as("viewer").get(url("auth_user_changelist"))

    assert page.status_code == 403
    assert "Ask an administrator" in text_of(page)
