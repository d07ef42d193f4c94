"""Encryption of addresses and secrets: what the database holds of them is of no use without the keys."""

from functools import lru_cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from controlplane.common.errors import Conflict


UNREADABLE: Final = gettext_noop(
    "This was encrypted with another key. Put that key into NOTIFY_SECRET_KEYS, behind the new one."
)


class SecretUnreadable(Conflict):
    """It was encrypted with a key that is not among NOTIFY_SECRET_KEYS."""

    code = "secret_unreadable"


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """With the first key; nothing stays nothing."""
    return _box(settings.NOTIFY_SECRET_KEYS).encrypt(text.encode("utf-8", "surrogatepass")).decode() if text else ""


def decrypt(text: str) -> str:
    """With whichever key fits. Raises SecretUnreadable."""
    if not text:
        return ""
    try:
        return _box(settings.NOTIFY_SECRET_KEYS).decrypt(text).decode("utf-8", "surrogatepass")
    except InvalidToken as error:
        raise SecretUnreadable(_(UNREADABLE)) from error


def rotated(text: str) -> str:
    """The same, encrypted with the first key. Raises SecretUnreadable."""
    return encrypt(decrypt(text))
