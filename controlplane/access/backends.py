"""Who a username and a password belong to."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest


class ConsoleBackend(ModelBackend):
    """Django's, for a username with blanks around it or in another case as well."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Any:
        if username is None or password is None:
            return None
        return super().authenticate(request, username=stored_username(username), password=password, **kwargs)


def stored_username(given: str) -> str:
    """The username that is meant: the one that is exactly this, else the only one that is this in another case.

    Where two differ in case alone, neither is meant by a third spelling. Cost: a scan of the users.
    """
    name = given.strip()
    alike = list(User.objects.filter(username__iexact=name).values_list("username", flat=True))
    return alike[0] if len(alike) == 1 else name
