"""Where Django keeps console sessions: in the database, by the hash of their key, and found again by their user.

The key of a session is what its cookie holds. Only the SHA-256 of it is stored, so that nobody who reads the database
or a dump of it can use a session that is open.
"""

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.http import HttpRequest
from django.utils import timezone

from controlplane.access.models import ConsoleSession
from controlplane.common.tokens import hash_secret


class SessionStore(DatabaseStore):
    """Django's store, with a row named by the hash of its key and told whose it is.

    A session that was begun by this very request and ended by another login before it is answered is no error: it is
    as if it had ended just after.
    """

    _is_begun_here = False

    def create(self) -> None:
        super().create()
        self._is_begun_here = True

    async def acreate(self) -> None:
        await super().acreate()
        self._is_begun_here = True

    def save(self, must_create: bool = False) -> None:
        try:
            super().save(must_create)
        except UpdateError:
            if not self._is_begun_here:
                raise

    async def asave(self, must_create: bool = False) -> None:
        try:
            await super().asave(must_create)
        except UpdateError:
            if not self._is_begun_here:
                raise

    @classmethod
    def get_model_class(cls) -> type[ConsoleSession]:
        return ConsoleSession

    def exists(self, session_key: str | None) -> bool:
        return session_key is not None and super().exists(hash_secret(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        return session_key is not None and await super().aexists(hash_secret(session_key))

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(hash_secret(key))

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(hash_secret(key))

    def create_model_instance(self, data: dict[str, Any]) -> ConsoleSession:
        return _as_stored(super().create_model_instance(data), data)

    async def acreate_model_instance(self, data: dict[str, Any]) -> ConsoleSession:
        return _as_stored(await super().acreate_model_instance(data), data)

    def _get_session_from_db(self) -> ConsoleSession | None:
        found: ConsoleSession | None = self._unexpired().first()
        if found is None:
            self._session_key = None
        return found

    async def _aget_session_from_db(self) -> ConsoleSession | None:
        found: ConsoleSession | None = await self._unexpired().afirst()
        if found is None:
            self._session_key = None
        return found

    def _unexpired(self) -> Any:
        key = hash_secret(self.session_key or "")
        return ConsoleSession.objects.filter(session_key=key, expire_date__gt=timezone.now()).order_by()


def _as_stored(row: Any, data: dict[str, Any]) -> ConsoleSession:
    row.session_key = hash_secret(row.session_key)
    row.user_id = data.get(SESSION_KEY)
    session: ConsoleSession = row
    return session


def end_sessions(user_id: int) -> int:
    """End every session of this user; returns how many there were. Their cookies say nothing from then on."""
    ended, _ = ConsoleSession.objects.filter(user_id=user_id).delete()
    return ended


def keep_only_session(request: HttpRequest, user_id: int) -> int:
    """Give the session of `request` a new key and end all earlier ones of this user; returns how many there were.

    Django keeps the key where somebody who is logged in does so again; whoever copied the cookie would stay, too.
    Two logins at one moment do not end each other, which would leave nobody logged in.
    """
    earlier = list(ConsoleSession.objects.filter(user_id=user_id).values_list("session_key", flat=True))
    request.session.cycle_key()
    ended, _ = ConsoleSession.objects.filter(session_key__in=earlier).delete()
    return ended
