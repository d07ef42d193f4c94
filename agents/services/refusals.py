"""Agents that were not let in: without a trace, nobody could tell a wrong token from an agent that never started."""

from enum import StrEnum

from django.utils import timezone

from agents.models import AgentToken
from agents.models.event import EventKind
from agents.services.events import portal_event, record_events
from controlplane.common.tokens import hash_secret

_PREFIX = "oat_"
_SHOWN_CHARACTERS = 9


class Cause(StrEnum):
    """Why an agent was refused, for the page on which somebody connects it."""

    TOKEN_MISSING = "token_missing"  # noqa: S105 -- a cause
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105
    TOKEN_CUT = "token_cut"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_OTHER_DIALECT = "token_other_dialect"  # noqa: S105
    ENVIRONMENT = "environment"
    HELLO = "hello"
    BODY = "body"
    FULL = "full"


def shown_prefix(secret: str) -> str:
    """So much of a refused secret as names a token without telling it; nothing of what is no token of agents."""
    return secret[:_SHOWN_CHARACTERS] if secret.startswith(_PREFIX) else ""


def record_refusal(
    *,
    dialect: str,
    peer_address: str,
    reason: str,
    token_id: int | None = None,
    cause: Cause | None = None,
    secret: str | None = None,
) -> None:
    """Note that an agent was refused; `reason` is a sentence. Callers damp it: agents try again for ever.

    Without a `token_id`, the `secret` that it showed says whose token that is, and without a `cause` why it opens no
    door; of the secret nothing but the beginning is kept.
    """
    meta: dict[str, object] = {"dialect": dialect, "peer_address": peer_address}
    if secret is not None and token_id is None:
        why, token_id = _why_refused(secret, dialect)
        cause = cause or why
        if shown := shown_prefix(secret):
            meta["shown"] = shown
    if token_id is not None:
        meta["token_id"] = token_id
    if cause is not None:
        meta["cause"] = cause.value
    record_events([portal_event(EventKind.AGENT_REFUSED, at=timezone.now(), message=reason, meta=meta)])


def _why_refused(secret: str, dialect: str) -> tuple[Cause | None, int | None]:
    """Why this secret opens no door, and whose token it is; no cause where it would."""
    if not secret:
        return Cause.TOKEN_MISSING, None
    token = AgentToken.objects.filter(secret_hash=hash_secret(secret)).first()
    if token is None:
        prefix = shown_prefix(secret)
        is_cut = bool(prefix) and AgentToken.objects.filter(prefix=prefix).exists()
        return (Cause.TOKEN_CUT if is_cut else Cause.TOKEN_UNKNOWN), None
    if token.revoked_at is not None:
        return Cause.TOKEN_REVOKED, token.pk
    if not token.is_usable:
        return Cause.TOKEN_EXPIRED, token.pk
    if token.dialects and dialect not in token.dialects:
        return Cause.TOKEN_OTHER_DIALECT, token.pk
    return None, token.pk
