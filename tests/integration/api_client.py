"""Calling the API as somebody, by token or by session."""

import json
from urllib.parse import quote

from django.contrib.auth.models import Group
from django.test import Client

from controlplane.access.models import ApiToken
from tests.factories import ApiTokenFactory, UserFactory


class Api:
    """Django's test client, speaking JSON to /api/v1. Without headers it is nobody."""

    def __init__(self, client=None, headers=None):
        self.client = client or Client()
        self.headers = headers or {}

    def get(self, path, query=None):
        return self.client.get(f"/api/v1/{path}", query or {}, headers=self.headers)

    def put(self, path, body):
        return self._send("PUT", path, body)

    def patch(self, path, body):
        return self._send("PATCH", path, body)

    def _send(self, method, path, body):
        content = json.dumps(body)
        return self.client.generic(
            method, f"/api/v1/{path}", content, content_type="application/json", headers=self.headers
        )

    def post(self, path, body=None, query=None, *, raw=None, content_type="application/json"):
        content = json.dumps({} if body is None else body) if raw is None else raw
        return self.client.post(
            f"/api/v1/{path}", content, content_type=content_type, query_params=query or {}, headers=self.headers
        )


def user_in(role, **fields):
    if role:
        # A transactional test before this one may have emptied the table that a migration fills.
        Group.objects.get_or_create(name=role)
    return UserFactory(role=role, **fields)


def api_as(role, scope=ApiToken.Scope.ADMIN, **fields):
    """A program with a token of that scope, and with these columns, of a user in that role."""
    user = user_in(role)
    secret = f"opt_of_{user.username}"
    ApiTokenFactory(secret=secret, name=f"token of {user.username}", user=user, scope=scope, **fields)
    return Api(headers={"Authorization": f"Bearer {secret}"})


def api_in_session(role):
    """A person in that role who logged in just now, without CSRF checks as Django's test client does."""
    client = Client()
    client.force_login(user_in(role))
    return Api(client)


def service_path(service, rest=""):
    return f"services/{quote(service.name, safe='')}{rest}"
