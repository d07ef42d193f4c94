"""Settings of the tests: the portal's own, with nothing of the developer's shell but DATABASE_URL and REDIS_URL."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = Path(tempfile.mkdtemp(prefix="portal-test-data-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

_OWN = {
    "ADMIN_PASSWORD", "ADMIN_USERNAME", "ALLOWED_HOSTS", "APP_ENV", "AUTH_MODE", "CSRF_TRUSTED_ORIGINS", "DATA_DIR",
    "DB_PATH", "DEBUG", "HOST", "INGEST_TOKENS", "LANGUAGE_CODE", "LOG_FORMAT", "LOG_LEVEL", "METRIC_NODES_JSON_PATH",
    "NODE_ID_PREFIX", "OFFLINE_THRESHOLD_SECONDS", "ONLINE_THRESHOLD_SECONDS", "PORT", "SCHEDULER_INTERVAL_SECONDS",
    "SECRET_KEY", "STATIC_ROOT", "TZ",
}  # fmt: skip
for _name in list(os.environ):
    if _name in _OWN or _name.startswith("ONESTEP_CP_"):
        del os.environ[_name]
os.environ["DATA_DIR"] = str(_FOLDER)
# Two runs, and the workers of one run, share a Redis without hearing each other.
os.environ["REDIS_PREFIX"] = f"portal-test-{os.getpid()}"

from controlplane.settings import *  # noqa: F403
from controlplane.settings import DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # In memory, threads would each see a database of their own.
    DATABASES["default"]["TEST"] = {"NAME": str(_FOLDER / "test.sqlite3")}

# What one test left in the database is not shown to the next.
HOME_SNAPSHOT_S = 0.0
