"""Who may send which kind of command: the edges of this app ask here, with the kind."""

from django.http import HttpRequest
from rest_framework.request import Request

from agents.models.command import DESTRUCTIVE_KINDS
from controlplane.access import policy


def ensure_may_command(request: HttpRequest | Request, kind: str) -> None:
    """Raise Forbidden where the role does not allow this kind, Unauthorized where the login is missing or too old."""
    policy.ensure_may_command(request, destructive=kind in DESTRUCTIVE_KINDS)
