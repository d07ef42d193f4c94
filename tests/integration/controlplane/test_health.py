"""/healthz and /readyz, in process and on servers that hang."""

import signal
import time
from datetime import timedelta

import psutil
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from agents.models import AgentToken, BackgroundJob, NodesFile
from agents.services.tokens import create_agent_token
from controlplane import health
from controlplane.celery import app as celery_app
from controlplane.common.actors import SYSTEM
from tests.e2e.harness.waiting import eventually
from tests.integration.controlplane.portals import make_up
from tests.servers import private_postgres, private_valkey

# What a machine that does other work may add to an answer.
BUSY_S = 3

# The views look at the database from threads of their own.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def jobs_that_run():
    """Every background job of the schedule as it is when it ran just now."""
    now = timezone.now()
    return {
        name: BackgroundJob.objects.create(name=name, last_started_at=now, last_succeeded_at=now, last_duration_ms=3)
        for name in celery_app.conf.beat_schedule
    }


def test_healthz_is_open_and_tells_that_no_agent_could_authenticate(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "ingestion_auth_configured": False})


@pytest.mark.parametrize(("revoked", "configured"), [(False, True), (True, False)])
def test_healthz_counts_only_tokens_that_could_be_used(client, revoked, configured):
    token, _secret = create_agent_token(name="a", dialects=[], environments=[], expires_at=None, actor=SYSTEM)
    if revoked:
        AgentToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())

    assert client.get("/healthz").json()["ingestion_auth_configured"] is configured


def test_healthz_counts_tokens_of_the_environment(client, settings):
    settings.INGEST_TOKENS = ("from-env",)

    assert client.get("/healthz").json()["ingestion_auth_configured"] is True


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_never_cached_and_only_read(client, path):
    assert "no-store" in client.get(path).headers["Cache-Control"]
    assert client.post(path).status_code == 405


def test_readyz_has_the_shape_of_the_contract(client, jobs_that_run):
    answer = client.get("/readyz")

    body = answer.json()
    assert answer.status_code == 200
    assert {name: body[name] for name in ("status", "environment", "ingestion_auth_configured")} == {
        "status": "ready",
        "environment": "dev",
        "ingestion_auth_configured": False,
    }
    assert set(body["checks"]) == {
        "database", "migrations", "background_tasks", "broker", "nodes_json", "registry_access"
    }  # fmt: skip
    # One of them has a name in the contract.
    assert set(body["checks"]["background_tasks"]) == {
        "retention_worker" if name == "apply-retention" else name for name in celery_app.conf.beat_schedule
    }
    checks = [body["checks"]["database"], body["checks"]["migrations"], body["checks"]["broker"]]
    for check in [*checks, *body["checks"]["background_tasks"].values()]:
        assert check["ready"] is True
        assert isinstance(check["detail"], str)
        assert set(check) <= {"ready", "detail", "meta"}


def test_readyz_tells_of_nodes_json_and_stays_ready(client, jobs_that_run):
    never = client.get("/readyz")
    NodesFile.objects.create(path="/p/nodes.json", failing_since=timezone.now(), error="/p/nodes.json: No space left")

    failing = client.get("/readyz")

    assert (never.status_code, failing.status_code) == (200, 200)
    assert never.json()["checks"]["nodes_json"] == {"ready": False, "detail": "It has never been written."}
    check = failing.json()["checks"]["nodes_json"]
    assert (check["ready"], check["detail"]) == (False, "It cannot be written. /p/nodes.json: No space left")
    assert check["meta"]["path"] == "/p/nodes.json"


@pytest.mark.parametrize(("silent_s", "ready"), [(60, True), (120, False)])
def test_readyz_tells_when_no_process_looks_after_nodes_json(client, jobs_that_run, settings, silent_s, ready):
    settings.SCHEDULER_INTERVAL_SECONDS = 30
    NodesFile.objects.create(path="/p/nodes.json", checked_at=timezone.now() - timedelta(seconds=silent_s))

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["checks"]["nodes_json"]["ready"]) == (200, ready)


@pytest.mark.usefixtures("jobs_that_run")
@pytest.mark.parametrize(
    ("host", "mode", "ready"),
    [
        ("127.0.0.1", "disabled", True),
        ("127.8.9.1", "disabled", True),
        ("::1", "disabled", True),
        ("localhost", "disabled", True),
        ("0.0.0.0", "disabled", False),
        ("::", "disabled", False),
        ("192.0.2.7", "disabled", False),
        ("portal.example", "disabled", False),
        ("0.0.0.0", "token", True),
    ],
)
def test_readyz_warns_of_a_registry_that_is_open_to_a_network(client, settings, host, mode, ready):
    settings.HOST, settings.AUTH_MODE = host, mode

    answer = client.get("/readyz")

    check = answer.json()["checks"]["registry_access"]
    assert (answer.status_code, check["ready"]) == (200, ready)
    assert ready or f"AUTH_MODE is disabled and HOST is {host}:" in check["detail"]


def test_readyz_is_503_before_the_background_jobs_ran(client):
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert answer.json()["checks"]["background_tasks"]["sweep-liveness"] == {
        "ready": False,
        "detail": "It has never run.",
    }


@pytest.mark.parametrize(("silent_s", "status"), [(60, 200), (180, 503)])
def test_readyz_turns_with_a_background_job_that_is_silent(client, jobs_that_run, settings, silent_s, status):
    settings.READINESS_TASK_STALE_AFTER_S = 120
    then = timezone.now() - timedelta(seconds=silent_s)
    BackgroundJob.objects.filter(name="sweep-liveness").update(last_started_at=then, last_succeeded_at=then)

    answer = client.get("/readyz")

    assert answer.status_code == status
    check = answer.json()["checks"]["background_tasks"]["sweep-liveness"]
    assert (check["ready"], check["detail"]) == ((True, "It runs.") if status == 200 else (False, "It is silent."))


@pytest.mark.parametrize("field", ["last_started_at", "last_succeeded_at"])
def test_readyz_does_not_trust_a_run_in_the_future(client, jobs_that_run, settings, field):
    ahead = timezone.now() + timedelta(seconds=settings.READINESS_TASK_STALE_AFTER_S + 60)
    BackgroundJob.objects.filter(name="sweep-liveness").update(**{field: ahead})

    answer = client.get("/readyz")

    assert answer.status_code == 503
    check = answer.json()["checks"]["background_tasks"]["sweep-liveness"]
    assert (check["ready"], check["detail"]) == (False, "Its last run lies in the future: a clock was wrong.")


def test_readyz_tells_a_job_that_only_fails_and_keeps_its_error_text(client, jobs_that_run):
    now = timezone.now()
    BackgroundJob.objects.filter(name="sweep-liveness").update(
        last_started_at=now, last_succeeded_at=None, last_failed_at=now, last_error="OperationalError: host db.internal"
    )

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["background_tasks"]["sweep-liveness"]["detail"] == "It fails."
    assert b"db.internal" not in answer.content


def test_readyz_names_the_migrations_that_are_missing(client, jobs_that_run):
    head = next(name for app, name in health._heads() if app == "agents")
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("agents", head)
    try:
        answer = client.get("/readyz")
    finally:
        recorder.record_applied("agents", head)

    assert answer.status_code == 503
    assert answer.json()["checks"]["migrations"] == {
        "ready": False,
        "detail": "The database is not migrated to this version.",
        "meta": {"missing": [f"agents.{head}"]},
    }


class Stopped:
    """A server of this test that hangs, as on a dead network: its processes stop, its connections stay open."""

    def __init__(self, name):
        self._processes = [each for each in psutil.Process().children(recursive=True) if each.name().startswith(name)]
        assert self._processes

    def __enter__(self):
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_):
        for process in self._processes:
            process.send_signal(signal.SIGCONT)


@pytest.fixture
def up_on_own_servers(tmp_path_factory, tmp_path):
    folders = [tmp_path_factory.mktemp(name) for name in ("postgres", "valkey")]
    with private_postgres(folders[0]) as database_url, private_valkey(folders[1]) as redis_url:
        portal = make_up(tmp_path, DATABASE_URL=database_url, REDIS_URL=redis_url)
        try:
            portal.start()
            portal.wait_until_ready()
            yield portal
        finally:
            portal.child.kill()


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_readyz_answers_in_time_while_servers_hang_and_recovers(up_on_own_servers):
    portal = up_on_own_servers

    with Stopped("valkey"):
        began = time.monotonic()
        status, body = portal.readiness()
        took_s = time.monotonic() - began
    assert took_s < health.ANSWER_WITHIN_S + BUSY_S
    assert body["checks"]["broker"]["ready"] is False
    # Hints come late without Redis; work is still done.
    assert (status, body["status"]) == (200, "ready")

    with Stopped("postgres"):
        began = time.monotonic()
        status, body = portal.readiness()
        took_s = time.monotonic() - began
    assert took_s < health.ANSWER_WITHIN_S + BUSY_S
    assert (status, body["status"]) == (503, "not_ready")
    assert body["checks"]["database"] == {"ready": False, "detail": "No answer in time."}

    eventually(lambda: portal.readiness()[1]["checks"]["broker"]["ready"], "Redis answers again")
    portal.wait_until_ready()
