"""API tokens: made, revoked, found by their secret."""

import json
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from controlplane.access.models import ApiToken
from controlplane.access.roles import remember_role
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.database import any_of
from controlplane.common.joining import Joiner
from controlplane.common.snapshots import NOTHING, difference, snapshot
from controlplane.common.tokens import hash_secret

logger = logging.getLogger(__name__)

SECRET_PREFIX = "opt_"  # noqa: S105 -- tells kinds of secrets apart, and lets scanners find leaked ones
SECRET_BYTES = 32
SHOWN_CHARACTERS = 12
# A busy program must not cost a write per call.
LAST_USED_RESOLUTION = timedelta(minutes=1)
_ADDRESS_MAX_CHARS = 64


@transaction.atomic
def create_api_token(
    *,
    name: str,
    user: User,
    actor: Actor,
    scope: str = ApiToken.Scope.READ,
    environments: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """The stored token and its secret, which cannot be had again. The name must be free (IntegrityError)."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = ApiToken.objects.create(
        name=name,
        prefix=secret[:SHOWN_CHARACTERS],
        secret_hash=hash_secret(secret),
        user=user,
        scope=ApiToken.Scope(scope),
        environments=list(environments),
        expires_at=expires_at,
    )
    made = difference(NOTHING, snapshot(token))
    record_changes([change_of(ChangeKind.TOKEN_CREATED, token, actor=actor, what=made)])
    logger.info("api_token.created id=%s name=%s user=%s scope=%s", token.pk, name, user.pk, scope)
    return token, secret


@transaction.atomic
def revoke_api_token(token: ApiToken, *, actor: Actor) -> bool:
    """Refuse the token from the next request on; False if it was revoked before."""
    revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    token.refresh_from_db(fields=("revoked_at",))
    if revoked:
        record_changes([change_of(ChangeKind.TOKEN_REVOKED, token, actor=actor)])
        logger.info("api_token.revoked id=%s name=%s actor=%s", token.pk, token.name, actor.name)
    return revoked == 1


_FIND = """
    SELECT t.secret_hash, t.id, t.name, t.scope, t.environments, t.last_used_at IS NULL OR t.last_used_at <= %s,
        u.id, u.username, u.is_superuser, g.name
    FROM access_apitoken t
    JOIN auth_user u ON u.id = t.user_id
    LEFT JOIN auth_user_groups m ON m.user_id = u.id
    LEFT JOIN auth_group g ON g.id = m.group_id
    WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %s) AND u.is_active AND t.secret_hash
"""
# How many tokens one query asks for: as many as there are requests at work in one process.
_FIND_BATCH = 100


def use_api_token(secret: str, *, address: str = "") -> ApiToken | None:
    """The usable token with this secret, its active user and that user's role, in one query; None for any other.

    Token and user carry what tells them apart and what they may do; any other column costs a query. Notes that the
    token was used, and from where, at most once per LAST_USED_RESOLUTION. In plain SQL, together with other requests of
    the same moment, since every call of the API begins with it: the ORM spends a millisecond on the same.
    """
    rows = _find_joined(hash_secret(secret))
    if not rows:
        return None
    _hash, token_id, name, scope, environments, is_stale, user_id, username, is_superuser, _group = rows[0]
    user = User.from_db(connection.alias, _USER_COLUMNS, (user_id, bool(is_superuser), username, True))
    remember_role(user, (row[-1] for row in rows))
    token = ApiToken.from_db(
        connection.alias, _TOKEN_COLUMNS, (token_id, name, user_id, scope, json.loads(environments))
    )
    token.user = user
    if is_stale:
        _note_use(token_id, timezone.now(), address)
    return token


def has_api_tokens() -> bool:
    """Whether any API token could be used now."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiToken.objects.filter(unexpired, revoked_at=None, user__is_active=True).exists()


def _find(hashes: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """The rows of each usable token, one per group of its user."""
    now = timezone.now()
    adapt = connection.ops.adapt_datetimefield_value
    among, asked = any_of(set(hashes))
    found: dict[str, list[tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_FIND + among, [adapt(now - LAST_USED_RESOLUTION), adapt(now), *asked])
        for row in cursor:
            found.setdefault(row[0], []).append(row)
    return [found.get(each, []) for each in hashes]


_find_joined = Joiner(_find, batch_size=_FIND_BATCH)

# In the order of the models, as `from_db` takes them.
_USER_COLUMNS = ("id", "is_superuser", "username", "is_active")
_TOKEN_COLUMNS = ("id", "name", "user_id", "scope", "environments")


def _note_use(token_id: int, now: datetime, address: str) -> None:
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USED_RESOLUTION)
    ApiToken.objects.filter(stale, pk=token_id).update(last_used_at=now, last_used_from=address[:_ADDRESS_MAX_CHARS])
