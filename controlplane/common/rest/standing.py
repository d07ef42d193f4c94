"""Permissions that can be asked again: what is sent for long outlives the login that it was asked for with."""

from collections.abc import Callable

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

Stands = Callable[[], bool]


class LastingPermission(BasePermission):
    """The base of permission classes of views that give files."""

    def standing_of(self, request: Request) -> Stands:
        """What tells, at any later time and in any thread, whether a request that was let in still would be."""
        raise NotImplementedError
