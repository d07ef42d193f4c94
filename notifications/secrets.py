"""Encryption of what channels keep. STAND-IN: to be replaced at merge (MultiFernet with keys of its own)."""

import base64
import hashlib

from cryptography.fernet import Fernet
from django.conf import settings


def _box() -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(settings.SECRET_KEY.encode()).digest()))


def encrypt(text: str) -> str:
    return _box().encrypt(text.encode()).decode() if text else ""


def decrypt(text: str) -> str:
    return _box().decrypt(text.encode()).decode() if text else ""
