"""API tokens: made, revoked, found by their secret."""

import hashlib
import logging
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from controlplane.access.models import ApiToken

logger = logging.getLogger(__name__)

SECRET_PREFIX = "opt_"  # noqa: S105 -- tells kinds of secrets apart, and lets scanners find leaked ones
SECRET_BYTES = 32
SHOWN_CHARACTERS = 12
# A busy program must not cost a write per call.
LAST_USED_RESOLUTION = timedelta(minutes=1)


def hash_secret(secret: str) -> str:
    """SHA-256 in hex: the secret is random and long, so a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def create_api_token(
    *, name: str, user: User, scope: str = ApiToken.Scope.READ, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """The stored token and its secret, which cannot be had again. The name must be free (IntegrityError)."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = ApiToken.objects.create(
        name=name,
        prefix=secret[:SHOWN_CHARACTERS],
        secret_hash=hash_secret(secret),
        user=user,
        scope=ApiToken.Scope(scope),
        expires_at=expires_at,
    )
    logger.info("api_token.created id=%s name=%s user=%s scope=%s", token.pk, name, user.pk, scope)
    return token, secret


def revoke_api_token(token: ApiToken, *, actor: str) -> bool:
    """Refuse the token from the next request on; False if it was revoked before. `actor` names who did it."""
    revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    token.refresh_from_db(fields=("revoked_at",))
    if revoked:
        logger.info("api_token.revoked id=%s name=%s actor=%s", token.pk, token.name, actor)
    return revoked == 1


def find_api_token(secret: str) -> ApiToken | None:
    """The usable token with this secret and its active user, in one query; None for any other."""
    token = ApiToken.objects.select_related("user").filter(secret_hash=hash_secret(secret)).first()
    if token is None or not token.is_usable or not token.user.is_active:
        return None
    return token


def touch_api_token(token: ApiToken) -> None:
    """Note that the token was used, at most once per LAST_USED_RESOLUTION."""
    now = timezone.now()
    stale = now - LAST_USED_RESOLUTION
    if token.last_used_at is not None and token.last_used_at > stale:
        return
    ApiToken.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=stale), pk=token.pk).update(last_used_at=now)
