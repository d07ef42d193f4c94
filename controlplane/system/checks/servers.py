"""Database, Redis and channel layer: whether they answer, and whether the clocks agree."""

from collections.abc import Iterable, Iterator

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils.translation import gettext

from controlplane.system.findings import Finding, named
from controlplane.system.reach import Reach

# Leases and deadlines bear less than this; logins and tokens expire wrongly by as much.
SKEW_WARN_S = 2.0
SKEW_ERROR_S = 30.0
DATABASE_SLOW_MS = 100.0
WAITING_MAX = 1000
MISSING_NAMED = 5


def check_servers(reaches: Iterable[Reach]) -> Iterator[Finding]:
    """By looks that were taken already: no query. Of a Redis that is away, what goes through it is not told, too."""
    looks = list(reaches)
    is_redis_away = any(not each.ok for each in looks if each.name == "redis")
    for reach in looks:
        if not reach.ok:
            if reach.name in {"database", "redis"} or not is_redis_away:
                yield _away(reach)
            continue
        if reach.skew_s is not None and abs(reach.skew_s) > SKEW_WARN_S:
            yield _skewed(reach)
        if reach.name == "database" and reach.latency_ms is not None and reach.latency_ms > DATABASE_SLOW_MS:
            yield Finding(
                "database_slow",
                "warning",
                gettext("The database answers slowly"),
                gettext("A round trip takes %d ms; every page and every batch of telemetry takes several.")
                % reach.latency_ms,
                gettext("Look at the load of its server, and bring it closer to the portal on the network."),
            )
        if reach.waiting is not None and reach.waiting > WAITING_MAX:
            yield Finding(
                "jobs_wait",
                "warning",
                gettext("Background jobs wait in the queue"),
                gettext("%d messages wait: the workers do not keep up.") % reach.waiting,
                gettext("Start one worker more."),
                "python manage.py worker",
            )


def database_away(reach: Reach) -> Finding:
    return Finding(
        "database_unreachable",
        "error",
        gettext("The database does not answer"),
        gettext("It says %s. Nothing else can be checked.") % reach.error,
        gettext("Check whether its server runs, and DATABASE_URL."),
        "DATABASE_URL",
    )


def _away(reach: Reach) -> Finding:
    if reach.name == "redis":
        return Finding(
            "redis_unreachable",
            "error",
            gettext("Redis does not answer"),
            gettext("It says %s. Commands reach agents seconds later, and background jobs stand still.") % reach.error,
            gettext("Check whether its server runs, and REDIS_URL."),
            "REDIS_URL",
        )
    if reach.name == "channels":
        return Finding(
            "channels_unreachable",
            "error",
            gettext("The channel layer does not deliver"),
            gettext("A message to itself did not come back (%s): hints to other processes are lost.") % reach.error,
            gettext("Check Redis: whether it allows publish and subscribe, and how many connections it takes."),
            "REDIS_URL",
        )
    if reach.name == "broker":
        return Finding(
            "broker_unreachable",
            "error",
            gettext("The queue of background jobs cannot be reached"),
            gettext("Redis answers, but says %s about it. No background job runs until that is over.") % reach.error,
            gettext("See that no other program uses the same database of Redis, or give this portal a prefix."),
            "REDIS_PREFIX=portal",
        )
    return database_away(reach)


def _skewed(reach: Reach) -> Finding:
    skew_s = reach.skew_s or 0.0
    server = gettext("the database") if reach.name == "database" else "Redis"
    return Finding(
        f"clock_skew_{reach.name}",
        "error" if abs(skew_s) > SKEW_ERROR_S else "warning",
        gettext("The clocks of this process and of %s differ") % server,
        gettext("By %.1f s. Deadlines, leases and offline verdicts are wrong by as much.") % abs(skew_s),
        gettext("Have the clocks of both machines set by NTP."),
        "timedatectl set-ntp true",
    )


def missing_migrations() -> list[str]:
    """Migrations of the code that the database has not seen. One query."""
    loader = MigrationLoader(connection)
    missing = set(loader.disk_migrations) - set(loader.applied_migrations)
    return sorted(f"{app}.{name}" for app, name in missing)


def migrations_missing(missing: list[str]) -> Finding:
    return Finding(
        "migrations_missing",
        "error",
        gettext("The database is not migrated to this version"),
        gettext("Missing: %s.") % named(missing[:MISSING_NAMED], len(missing)),
        gettext("Migrate it; `manage.py up` does so at its start."),
        "python manage.py migrate",
    )
