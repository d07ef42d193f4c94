"""Database, hints and broker: DATABASE_URL and REDIS_URL choose between the embedded default and production."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env
from controlplane.settings.base import DATA_DIR


def _database_url() -> str:
    """DATABASE_URL, else the SQLite file that DB_PATH names, else the one in DATA_DIR."""
    configured = env.secret("DATABASE_URL")
    if configured:
        return configured
    path = env.text("DB_PATH")
    if "://" in path:
        raise ImproperlyConfigured("DB_PATH must be the path of an SQLite file; for a URL there is DATABASE_URL.")
    if path and (path.endswith("/") or Path(path).is_dir()):
        raise ImproperlyConfigured(f"DB_PATH must name a file, not the folder {path!r}.")
    return f"sqlite:///{quote(str(Path(path).absolute() if path else DATA_DIR / 'portal.sqlite3'))}"


DATABASE_URL = _database_url()
REDIS_URL = env.secret("REDIS_URL")


# Of libpq. An answer is waited for as long as it takes while the server's host confirms probes: one after 10 s of
# silence, then one every 4 s, of which two may be lost; what was sent may be unconfirmed for 20 s.
_GIVE_UP = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 4,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def _database() -> dict[str, Any]:
    try:
        database: dict[str, Any] = environ.Env.db_url_config(DATABASE_URL)
    except Exception as exc:
        raise ImproperlyConfigured("DATABASE_URL is not a database URL such as postgres://user:pw@host/name.") from exc
    options = database.setdefault("OPTIONS", {})
    if database["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE takes the write lock at BEGIN: two writers then wait for each other instead of failing with
        # "database is locked" at the first write of a transaction that began as a reader.
        options |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
        }
    elif database["ENGINE"] == "django.db.backends.postgresql":
        # A pool per process; CONN_MAX_AGE must stay 0 with it. Three times cheaper than a connection per request.
        pool_size = env.integer("DATABASE_POOL_SIZE", 16, minimum=2, maximum=200)
        options["pool"] = {
            # Kept open while nothing happens; a burst after silence then waits for no handshake.
            "min_size": env.integer("DATABASE_POOL_MIN_SIZE", 1, minimum=0, maximum=pool_size),
            "max_size": pool_size,
            "timeout": env.integer("DATABASE_POOL_TIMEOUT_S", 10, minimum=1),
        }
        # A connection that the server cut meanwhile (a restart) is replaced; it does not fail the request that gets it.
        database["CONN_HEALTH_CHECKS"] = True
        # Options of DATABASE_URL count before these. A server that vanishes without a word (a pulled cable, a failed
        # host) is given up after some 20 s, where Linux itself would wait for a quarter of an hour, or for ever.
        for name, value in _GIVE_UP.items():
            options.setdefault(name, value)
    else:
        raise ImproperlyConfigured("DATABASE_URL must begin with postgres:// or sqlite://.")
    return database


DATABASES = {"default": _database()}

# How long history is kept after it happened, and after it came. PostgreSQL drops whole weeks: up to seven days later,
# and a week for which something came late when that is as old.
RETENTION_TASK_EVENTS_DAYS = env.integer("RETENTION_TASK_EVENTS_DAYS", 30, minimum=1)
RETENTION_TASK_METRIC_WINDOWS_DAYS = env.integer("RETENTION_TASK_METRIC_WINDOWS_DAYS", 90, minimum=1)
RETENTION_AGENT_COMMANDS_DAYS = env.integer("RETENTION_AGENT_COMMANDS_DAYS", 30, minimum=1)
# Rows that one statement deletes at most, where there is no partition to drop.
RETENTION_DELETE_BATCH_SIZE = env.integer("RETENTION_DELETE_BATCH_SIZE", 1000, minimum=1, maximum=10_000)
RETENTION_RUN_INTERVAL_S = env.integer("RETENTION_RUN_INTERVAL_S", 86400, minimum=1)
# How many weeks of partitions are made before they are needed: so long may the background jobs stand still.
PARTITIONS_AHEAD_WEEKS = env.integer("PARTITIONS_AHEAD_WEEKS", 4, minimum=1, maximum=60)

if REDIS_URL:
    CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
        "default": {
            # The core layer loses sockets and groups for good when Redis restarts; pubsub resubscribes by itself.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                # The client's own defaults (5 s socket timeout, 100 connections) kill consumers under load.
                "hosts": [{"address": REDIS_URL, "socket_timeout": None, "max_connections": 1000}],
                "prefix": env.text("REDIS_PREFIX", "portal"),
            },
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "controlplane.common.hints.LocalChannelLayer"}}
