"""Agent tokens: making, checking and revoking what agents show at the door."""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from agents.models import AgentToken, Session
from agents.models.instance import Dialect
from controlplane.common.actors import SYSTEM, Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.hints import hint_replicas
from controlplane.common.snapshots import NOTHING, difference, snapshot
from controlplane.common.tokens import hash_secret

# Dialects that a gateway speaks; tokens for others would open no door.
OFFERED_DIALECTS = (Dialect.ONESTEP, Dialect.ARGUS)
SECRET_PREFIX = "oat_"  # noqa: S105 -- the mark of the kind, not a secret
_SHOWN_CHARACTERS = 9
LAST_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a shown token allows. `token_id` is None for a token of the environment, which allows everything.

    One that `is_awaited` has an end until the first agent came in with it: see `keep_awaited`.
    """

    token_id: int | None
    environments: tuple[str, ...] = ()
    is_awaited: bool = False

    def speaks_for(self, environment: str) -> bool:
        return not self.environments or environment in self.environments


@transaction.atomic
def create_agent_token(
    *,
    name: str,
    dialects: list[str],
    environments: list[str],
    expires_at: datetime | None,
    unless_used: bool = False,
    actor: Actor,
) -> tuple[AgentToken, str]:
    """Make a token; returns the row and the secret, which nobody can read again.

    With `unless_used` the first agent that is let in with it takes its end away: who came in time is not cut off later.
    """
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    token = AgentToken.objects.create(
        name=name,
        prefix=secret[:_SHOWN_CHARACTERS],
        secret_hash=hash_secret(secret),
        dialects=dialects,
        environments=environments,
        expires_at=expires_at,
        expires_unless_used=unless_used,
        created_by_id=actor.user_id,
    )
    made = difference(NOTHING, snapshot(token))
    record_changes([change_of(ChangeKind.TOKEN_CREATED, token, actor=actor, what=made)])
    return token, secret


@transaction.atomic
def revoke_agent_token(token: AgentToken, *, actor: Actor) -> bool:
    """Revoke a token and cut the sessions that it opened; False if it was revoked before."""
    now = timezone.now()
    if not AgentToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
        return False
    record_changes([change_of(ChangeKind.TOKEN_REVOKED, token, actor=actor)])
    held: set[UUID] = {
        replica_id
        for replica_id in Session.objects.filter(token=token, status=Session.Status.ACTIVE)
        .values_list("replica_id", flat=True)
        .distinct()
        if replica_id
    }
    transaction.on_commit(lambda: hint_replicas(held), robust=True)
    return True


def check_configured_token(secret: str) -> Credential | None:
    """What the secret allows if it is one of INGEST_TOKENS, which speak for everything. Asks no database."""
    shown = secret.encode("utf-8", "surrogatepass")
    # No early exit: how long the comparison takes tells nothing about which token matched.
    matches = [hmac.compare_digest(shown, known.encode()) for known in settings.INGEST_TOKENS]
    return Credential(token_id=None) if secret and any(matches) else None


def check_stored_tokens(secrets_shown: Sequence[str], *, dialect: str) -> list[Credential | None]:
    """What each secret allows in this dialect, or None where it is unknown, revoked, expired or for other dialects.

    Cost: one indexed read for all, and one update a minute for those that are in use.
    """
    hashes = [hash_secret(secret) for secret in secrets_shown]
    known = {token.secret_hash: token for token in AgentToken.objects.filter(secret_hash__in=set(hashes))}
    usable = {
        secret_hash: token
        for secret_hash, token in known.items()
        if token.is_usable and (not token.dialects or dialect in token.dialects)
    }
    now = timezone.now()
    stale = [
        token.pk
        for token in usable.values()
        if token.last_used_at is None or token.last_used_at < now - LAST_USED_EVERY
    ]
    if stale:
        AgentToken.objects.filter(pk__in=stale).update(last_used_at=now)
    credentials = {
        shown: Credential(token.pk, tuple(token.environments), is_awaited=token.expires_unless_used)
        for shown, token in usable.items()
    }
    return [credentials.get(shown) for shown in hashes]


def keep_awaited(credentials: Iterable[Credential]) -> None:
    """Take away the end of tokens that were waited for. Call it for those who are let in; it costs others nothing."""
    awaited = [each.token_id for each in credentials if each.is_awaited and each.token_id is not None]
    if awaited:
        _take_ends_away(AgentToken.objects.filter(pk__in=awaited, expires_unless_used=True).order_by("pk"))


@transaction.atomic
def _take_ends_away(tokens: QuerySet[AgentToken]) -> None:
    """With an event for each, told by whoever is the first."""
    for token in tokens:
        before = snapshot(token)
        still = AgentToken.objects.filter(pk=token.pk, expires_unless_used=True)
        if still.update(expires_at=None, expires_unless_used=False):
            token.expires_at, token.expires_unless_used = None, False
            what = difference(before, snapshot(token))
            record_changes([change_of(ChangeKind.CHANGED, token, actor=SYSTEM, what=what)])


def check_agent_token(secret: str, *, dialect: str) -> Credential | None:
    """What the secret allows in this dialect, or None where it is unknown, revoked, expired or for other dialects."""
    if not secret:
        return None
    return check_configured_token(secret) or check_stored_tokens([secret], dialect=dialect)[0]


def has_agent_tokens() -> bool:
    """Whether any token could open the door now."""
    return bool(settings.INGEST_TOKENS) or AgentToken.objects.exclude(AgentToken.unusable()).exists()
