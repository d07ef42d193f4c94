"""Logging in as a browser or a program does, with a password and from an address."""

import json

from django.test import Client

PASSWORD = "password"
ADDRESS = "203.0.113.7"


class Visitor:
    """Somebody at an address with a cookie jar; nobody yet. CSRF is checked as outside of tests."""

    def __init__(self, address=ADDRESS):
        self.client = Client(enforce_csrf_checks=True, REMOTE_ADDR=address)

    def post(self, path, body=None, headers=None):
        return self.client.post(
            f"/api/v1/auth/{path}", json.dumps({} if body is None else body), "application/json", headers=headers or {}
        )

    def login(self, username, password=PASSWORD, headers=None):
        return self.post("login", {"username": username, "password": password}, headers)

    def session(self):
        return self.client.get("/api/v1/auth/session").json()

    def is_logged_in(self):
        return self.session()["authenticated"]

    def login_at_the_console(self, username, password=PASSWORD):
        self.client.get("/admin/login/")
        form = {
            "username": username,
            "password": password,
            "csrfmiddlewaretoken": self.client.cookies["csrftoken"].value,
        }
        return self.client.post("/admin/login/?next=/admin/", form)


def answer(response):
    return response.status_code, response.json()
