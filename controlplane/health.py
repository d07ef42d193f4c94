"""/healthz and /readyz: is the process alive, and may it be given work. Source: agent contract, Metrics and health.

Nothing is remembered between two requests, and no request waits longer than `ANSWER_WITHIN_S`, whatever hangs: the
looks at the database and at Redis run in threads, one at a time each, and a request that comes meanwhile shares the
look that is under way.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic, TypeVar

import redis
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.gateways.argus.views import error_answer
from agents.gateways.hub import hub_here
from agents.models import BackgroundJob
from agents.selectors.jobs import stale_after
from agents.selectors.nodes_file import nodes_file_state
from agents.services.tokens import has_agent_tokens
from controlplane.celery import app as celery_app
from controlplane.common.batching import BatcherFigures
from controlplane.common.rest.plain import describe
from controlplane.health_schema import ALIVE, NODE_ALIVE, NODE_READY, READY
from controlplane.runtime.preflight import open_registry
from controlplane.runtime.supervisor import part_statuses
from tasks_app.services.storage import RETENTION_JOB

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 2.0
# Liveness must not hang on the database: an orchestrator would kill a process that is well.
ALIVE_WITHIN_S = 0.5
# A look that hangs for longer sits on a connection that is dead; the next request starts a fresh one.
_GIVE_UP_AFTER_S = 10.0
# A deadlock or a restarted database is over by then; a full disk or a read-only database is not.
WRITING_FAILS_AFTER_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the readiness report; `detail` is for people and holds no secret."""

    ready: bool
    detail: str
    meta: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"ready": self.ready, "detail": self.detail} | ({"meta": self.meta} if self.meta else {})


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What one look at the database tells. `has_tokens` is None where it could not be read."""

    database: Check
    migrations: Check
    background_tasks: dict[str, Check]
    nodes_json: Check
    has_tokens: bool | None = None


class _Probe(Generic[T]):
    """A look that may hang: shared while it runs, waited for only so long."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._running: Future[T] | None = None
        self._started_at = 0.0

    async def answer(self, *, within_s: float, otherwise: T) -> T:
        with self._lock:
            running = self._running
            if running is None or running.done() or time.monotonic() - self._started_at > _GIVE_UP_AFTER_S:
                running = self._running = Future()
                self._started_at = time.monotonic()
                # A daemon: a look that hangs must not keep the process from ending.
                threading.Thread(target=self._fulfil, args=(running,), name="health", daemon=True).start()
        try:
            # Shielded, because others may wait for the same look.
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(running)), within_s)
        except TimeoutError:
            return otherwise

    def _fulfil(self, future: Future[T]) -> None:
        try:
            future.set_result(self._look())
        except BaseException as error:  # noqa: BLE001 -- whoever waits gets it
            future.set_exception(error)


@describe("get", ALIVE)
@require_safe
@never_cache
async def healthz(_request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers; says whether any agent could authenticate at all."""
    return JsonResponse({"status": "ok", "ingestion_auth_configured": await _has_tokens()})


@describe("get", READY)
@require_safe
@never_cache
async def readyz(_request: HttpRequest) -> JsonResponse:
    """200 when the database answers, its schema is at head, background jobs run, no part of this process is down and
    what agents report can be stored.

    Redis is reported and does not decide: without it everything still works, later. Where the worker cannot be
    reached because of it, the background jobs fall silent, and that does decide. nodes.json, and whether the registry
    is open to anybody, are reported and do not decide either: the portal serves everybody else.
    """
    report, broker = await asyncio.gather(
        _database_probe.answer(within_s=ANSWER_WITHIN_S, otherwise=_database_silent("No answer in time.")),
        _broker_probe.answer(within_s=ANSWER_WITHIN_S, otherwise=Check(ready=False, detail="No answer in time.")),
    )
    parts, queues = _parts(), _queues()
    deciding = [
        report.database,
        report.migrations,
        *report.background_tasks.values(),
        *parts.values(),
        *queues.values(),
    ]
    ready = all(check.ready for check in deciding)
    checks: dict[str, Any] = {
        "database": report.database.as_json(),
        "migrations": report.migrations.as_json(),
        "background_tasks": {name: check.as_json() for name, check in report.background_tasks.items()},
        "broker": broker.as_json(),
        "nodes_json": report.nodes_json.as_json(),
        "registry_access": _registry_access().as_json(),
    }
    if parts:
        checks["parts"] = {name: check.as_json() for name, check in parts.items()}
    if queues:
        checks["ingest"] = {name: check.as_json() for name, check in queues.items()}
    body = {
        "status": "ready" if ready else "not_ready",
        "environment": settings.APP_ENV,
        "ingestion_auth_configured": bool(report.has_tokens or settings.INGEST_TOKENS),
        "checks": checks,
    }
    response = JsonResponse(body, status=200 if ready else 503)
    # Django would log an error per probe for what the body says already.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response


@describe("get", NODE_ALIVE)
@never_cache
async def node_healthz(request: HttpRequest) -> HttpResponse:
    """/healthz at the base path of the registry: 200 as long as this process answers. Asks no database."""
    return _wrong_verb(request) or JsonResponse({"status": "ok"})


@describe("get", NODE_READY)
@never_cache
async def node_readyz(request: HttpRequest) -> HttpResponse:
    """/readyz at the base path of the registry: 200 when the database answers, else 503 with the reason.

    How nodes.json fares, and whether the registry is open to anybody, is reported and does not decide.
    """
    refusal = _wrong_verb(request)
    if refusal is not None:
        return refusal
    found = await _answering_probe.answer(within_s=ANSWER_WITHIN_S, otherwise="The database gives no answer in time.")
    if isinstance(found, str):
        return error_answer(503, found)
    checks = {"nodes_json": found.as_json(), "registry_access": _registry_access().as_json()}
    return JsonResponse({"status": "ready", "checks": checks})


def _wrong_verb(request: HttpRequest) -> HttpResponse | None:
    """The registry's answer to a verb that its probes do not have."""
    if request.method in {"GET", "HEAD"}:
        return None
    return error_answer(405, "The method must be GET or HEAD.", {"Allow": "GET, HEAD"})


def _look_at_answer() -> Check | str:
    """How nodes.json fares, or a sentence why the database does not answer."""
    try:
        return _nodes_json(timezone.now())
    except DatabaseError as error:
        logger.warning("health.database_silent error=%s", type(error).__name__)
        return f"The database does not answer: {type(error).__name__}."
    finally:
        close_old_connections()


async def _has_tokens() -> bool:
    """From the environment without a query; else from the database, or as last seen where it does not answer."""
    global _tokens_last_seen  # noqa: PLW0603 -- tokens do not vanish because the database is away
    if settings.INGEST_TOKENS:
        return True
    seen = await _tokens_probe.answer(within_s=ALIVE_WITHIN_S, otherwise=None)
    if seen is not None:
        _tokens_last_seen = seen
    return _tokens_last_seen


_tokens_last_seen = False


def _look_at_tokens() -> bool | None:
    try:
        return has_agent_tokens()
    except DatabaseError:
        return None
    finally:
        close_old_connections()


def _look_at_database() -> DatabaseReport:
    started = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        latency_ms = round((time.monotonic() - started) * 1000, 1)
        database = Check(ready=True, detail="It answers.", meta={"vendor": connection.vendor, "latency_ms": latency_ms})
        migrations = _migrations()
        if not migrations.ready:
            unknown = "Unknown before the database is migrated."
            return DatabaseReport(database, migrations, _jobs_unknown(unknown), Check(ready=False, detail=unknown))
        now = timezone.now()
        return DatabaseReport(database, migrations, _background_tasks(now), _nodes_json(now), has_agent_tokens())
    except DatabaseError as error:
        logger.warning("health.database_silent error=%s", type(error).__name__)
        return _database_silent(f"It does not answer: {type(error).__name__}.")
    finally:
        close_old_connections()


def _database_silent(detail: str) -> DatabaseReport:
    unknown = "Unknown while the database does not answer."
    unseen = Check(ready=False, detail=unknown)
    return DatabaseReport(Check(ready=False, detail=detail), unseen, _jobs_unknown(unknown), unseen)


def _jobs_unknown(detail: str) -> dict[str, Check]:
    return {_reported_name(name): Check(ready=False, detail=detail) for name in celery_app.conf.beat_schedule}


def _reported_name(job: str) -> str:
    """The contract's name of a job that it knows, else the job's own."""
    return {RETENTION_JOB: "retention_worker"}.get(job, job)


@cache
def _heads() -> frozenset[tuple[str, str]]:
    """The last migration of each app in the code of this process, which does not change while it runs."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _migrations() -> Check:
    applied = MigrationRecorder(connection).applied_migrations()
    missing = sorted(f"{app}.{name}" for app, name in _heads() if (app, name) not in applied)
    if missing:
        return Check(ready=False, detail="The database is not migrated to this version.", meta={"missing": missing})
    return Check(ready=True, detail="At head.")


def _background_tasks(now: datetime) -> dict[str, Check]:
    rows = BackgroundJob.objects.in_bulk(list(celery_app.conf.beat_schedule))
    return {
        _reported_name(name): _background_task(rows.get(name), now, stale_after(name))
        for name in celery_app.conf.beat_schedule
    }


def _background_task(job: BackgroundJob | None, now: datetime, silent_for: timedelta) -> Check:
    if job is None or job.last_started_at is None:
        return Check(ready=False, detail="It has never run.")
    meta = {
        "last_started_at": job.last_started_at,
        "last_succeeded_at": job.last_succeeded_at,
        "last_failed_at": job.last_failed_at,
        "last_duration_ms": job.last_duration_ms,
        "stale_after_s": silent_for.total_seconds(),
    }
    if max(job.last_started_at, job.last_succeeded_at or job.last_started_at) > now + silent_for:
        return Check(ready=False, detail="Its last run lies in the future: a clock was wrong.", meta=meta)
    if job.last_succeeded_at is None or job.last_succeeded_at < now - silent_for:
        silent = job.last_started_at < now - silent_for
        return Check(ready=False, detail="It is silent." if silent else "It fails.", meta=meta)
    # Its error text is for those who may see the admin.
    return Check(ready=True, detail="Its last run failed." if job.last_error else "It runs.", meta=meta)


def _nodes_json(now: datetime) -> Check:
    state = nodes_file_state(now)
    return Check(ready=state.ready, detail=state.detail, meta=state.meta)


def _registry_access() -> Check:
    warning = open_registry()
    if warning is not None:
        return Check(ready=False, detail=warning)
    return Check(ready=True, detail=f"AUTH_MODE is {settings.AUTH_MODE}.")


def _look_at_broker() -> Check:
    if not settings.REDIS_URL:
        return Check(ready=True, detail="In process.")
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=ANSWER_WITHIN_S, socket_timeout=ANSWER_WITHIN_S
    )
    try:
        client.ping()
    except redis.RedisError as error:
        return Check(ready=False, detail=f"Redis does not answer: {type(error).__name__}. Hints come late.")
    finally:
        client.close()
    return Check(ready=True, detail="Redis answers.")


def _parts() -> dict[str, Check]:
    return {
        status.name: Check(
            ready=status.state == "running",
            detail=f"It crashed ({status.error}) and is started again."
            if status.state == "waiting"
            else f"It is {status.state}.",
            meta={"crashes": status.crashes},
        )
        for status in part_statuses()
    }


def _queues() -> dict[str, Check]:
    """How this process fares with storing what agents report; empty where it holds no agents."""
    hub = hub_here()
    return {} if hub is None else {name: _queue(figures) for name, figures in hub.snapshot()["queues"].items()}


def _queue(figures: BatcherFigures) -> Check:
    meta: dict[str, Any] = {
        name: figures[name] for name in ("waiting", "oldest_s", "last_lag_s", "poisoned", "retries")
    }
    failing_since = figures["failing_since"]
    if failing_since is not None and time.time() - failing_since > WRITING_FAILS_AFTER_S:
        meta["failing_since"] = datetime.fromtimestamp(failing_since, tz=UTC)
        return Check(ready=False, detail="What agents report cannot be stored; it waits.", meta=meta)
    return Check(ready=True, detail="It is stored as it comes.", meta=meta)


_database_probe = _Probe(_look_at_database)
_answering_probe: _Probe[Check | str] = _Probe(_look_at_answer)
_tokens_probe: _Probe[bool | None] = _Probe(_look_at_tokens)
_broker_probe = _Probe(_look_at_broker)
