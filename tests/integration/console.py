"""Looking at the console as somebody in a role."""

import time
from importlib import import_module

from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse

from controlplane.access.policy import LOGGED_IN_AT_KEY
from tests.factories import UserFactory


def console_as(role="viewer", *, logged_in_s_ago=0, **fields):
    """A browser of someone in that role; `superuser` is no group. `client.person` is the user."""
    if role != "superuser" and not Group.objects.filter(name=role, permissions__isnull=False).exists():
        # A transactional test before this one emptied the tables that a migration fills.
        import_module("controlplane.access.migrations.0002_role_groups").make_groups(apps, connection.schema_editor())
        for grants in ("0008_roles_see_the_fleet", "0010_roles_see_notifications"):
            import_module(f"controlplane.access.migrations.{grants}").grant(apps, connection.schema_editor())
    client = Client()
    if role == "superuser":
        client.person = UserFactory(is_superuser=True, **fields)
    else:
        client.person = UserFactory(role=role, **fields)
    client.force_login(client.person)
    session = client.session
    session[LOGGED_IN_AT_KEY] = time.time() - logged_in_s_ago
    session.save()
    return client


def url(view, *args):
    return reverse(f"admin:{view}", args=args)


def carried(page):
    """The hidden fields of a page that asks again, and what has to be typed there."""
    found = {}
    for name, value in page.context["carried"]:
        found.setdefault(name, []).append(value)
    if page.context["blast"].is_destructive:
        found["typed"] = [str(page.context["blast"].takes)]
    return found


def text_of(response):
    return response.content.decode()


def said(response):
    """The messages that the page shows."""
    return [str(message) for message in response.context["messages"]]
