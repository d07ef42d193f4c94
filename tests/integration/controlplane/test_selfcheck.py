"""The self-check: each finding appears when its cause does, and goes with it."""

import json
import shutil
import time
from datetime import timedelta
from io import StringIO

import pytest
import redis
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from agents.models import BackgroundJob, NodesFile, Replica, Session, TableSize
from agents.services.refusals import record_refusal
from controlplane.celery import app as celery_app
from controlplane.system import disks
from controlplane.system.checks.servers import check_servers
from controlplane.system.findings import SEVERITIES
from controlplane.system.jobs import jobs
from controlplane.system.reach import Reach, reaches
from controlplane.system.selfcheck import Look
from tests.factories import AgentTokenFactory, ApiTokenFactory, ReplicaFactory, SessionFactory, UserFactory
from tests.integration.console import console_as

pytestmark = pytest.mark.django_db
GB = 1024**3


@pytest.fixture(autouse=True)
def well(settings, monkeypatch):
    """A portal with which nothing is wrong."""
    settings.HOST, settings.APP_ENV, settings.DEBUG = "127.0.0.1", "dev", False
    settings.SECRET_KEY = "0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijk"
    settings.ALLOWED_HOSTS = ["portal.test", "testserver"]
    now = timezone.now()
    for name in celery_app.conf.beat_schedule:
        BackgroundJob.objects.create(name=name, last_started_at=now, last_succeeded_at=now, completed_at=now)
    for kind in ("web", "worker", "beat"):
        ReplicaFactory(kind=kind, pid=4711, last_seen_at=now)
    NodesFile.objects.create(path="/p/nodes.json", checked_at=now)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(100 * GB, 50 * GB, 50 * GB))


def found():
    return {each.code: each for each in Look(timezone.now()).findings}


def only():
    """The one finding that there is."""
    (finding,) = found().values()
    assert finding.severity in SEVERITIES
    assert finding.title
    assert finding.detail
    assert finding.fix
    return finding


def test_nothing_is_wrong_with_a_portal_that_is_well():
    assert found() == {}


# --- configuration


@pytest.mark.parametrize(
    ("changes", "code", "severity", "do"),
    [
        ({"DEBUG": True}, "debug_on", "warning", "DEBUG=false"),
        ({"SECRET_KEY": "short"}, "secret_key_weak", "error", "python3 -c"),
        ({"SECRET_KEY": "aab" * 30}, "secret_key_weak", "error", "python3 -c"),
        (
            {"SECRET_KEY": "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz0123456789"},
            "secret_key_weak",
            "error",
            "",
        ),
        ({"ALLOWED_HOSTS": ["*"]}, "any_host", "warning", "ALLOWED_HOSTS="),
    ],
)
def test_configuration(settings, changes, code, severity, do):
    before = found()
    for name, value in changes.items():
        setattr(settings, name, value)

    finding = only()

    assert (before, finding.code, finding.severity) == ({}, code, severity)
    assert do in finding.do
    assert "short" not in finding.detail


OPEN_AND_WELL = {
    "HOST": "10.0.0.5",
    "AUTH_MODE": "token",
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    "SESSION_COOKIE_SECURE": True,
}


@pytest.mark.parametrize(
    ("changes", "code", "do"),
    [
        ({"AUTH_MODE": "disabled"}, "registry_open", "AUTH_MODE=token"),
        ({"SECURE_PROXY_SSL_HEADER": None}, "tls_proxy_unknown", "BEHIND_TLS_PROXY=true"),
        ({"SESSION_COOKIE_SECURE": False}, "cookies_insecure", "SECURE_COOKIES=true"),
        ({"DEBUG": True}, "debug_on", "DEBUG=false"),
    ],
)
def test_what_is_open_to_a_network(settings, changes, code, do):
    for name, value in OPEN_AND_WELL.items():
        setattr(settings, name, value)
    before = found()
    for name, value in changes.items():
        setattr(settings, name, value)

    finding = only()

    assert (before, finding.code, finding.do) == ({}, code, do)


def test_none_of_that_matters_where_nobody_else_gets_in(settings):
    settings.AUTH_MODE, settings.SECURE_PROXY_SSL_HEADER, settings.SESSION_COOKIE_SECURE = "disabled", None, False

    assert found() == {}


def test_sqlite_in_production(settings):
    for name, value in OPEN_AND_WELL.items():
        setattr(settings, name, value)
    settings.APP_ENV = "prod"

    assert set(found()) == ({"sqlite_in_production"} if connection.vendor == "sqlite" else set())


# --- servers


def test_servers_that_answer_are_told_with_their_latency():
    looks = {each.name: each for each in reaches()}

    assert all(each.ok for each in looks.values())
    assert looks["database"].latency_ms < 1000
    if django_settings.REDIS_URL:
        assert looks["redis"].latency_ms is not None
        assert abs(looks["redis"].skew_s) < 1
        assert looks["channels"].latency_ms is not None
        assert looks["broker"].waiting is not None
    else:
        assert looks["redis"].in_process
        assert looks["channels"].in_process


def test_a_redis_that_is_away_is_one_finding(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    finding = only()

    assert (finding.code, finding.severity, finding.do) == ("redis_unreachable", "error", "REDIS_URL")


@pytest.mark.needs_redis
def test_a_channel_layer_that_does_not_deliver(settings):
    layer = settings.CHANNEL_LAYERS["default"]
    away = {"BACKEND": layer["BACKEND"], "CONFIG": {"hosts": [{"address": "redis://127.0.0.1:1/0"}]}}
    settings.CHANNEL_LAYERS = {"default": away}

    assert only().code == "channels_unreachable"

    settings.CHANNEL_LAYERS = {"default": layer}
    assert found() == {}


@pytest.mark.needs_redis
def test_a_queue_of_jobs_that_is_something_else(settings):
    settings.CELERY_TASK_DEFAULT_QUEUE = "selfcheck"
    key = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"] + "selfcheck"
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.set(key, "a string")
    try:
        assert only().code == "broker_unreachable"
    finally:
        client.delete(key)
        client.close()
    assert found() == {}


@pytest.mark.needs_redis
def test_jobs_that_wait(settings):
    settings.CELERY_TASK_DEFAULT_QUEUE = "selfcheck"
    key = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"] + "selfcheck"
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.rpush(key, *range(1001))
    try:
        assert only().code == "jobs_wait"
    finally:
        client.delete(key)
        client.close()
    assert found() == {}


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        (Reach("database", ok=True, skew_s=1.9), []),
        (Reach("database", ok=True, skew_s=-2.1), [("clock_skew_database", "warning")]),
        (Reach("redis", ok=True, skew_s=31), [("clock_skew_redis", "error")]),
        (Reach("database", ok=True, latency_ms=100), []),
        (Reach("database", ok=True, latency_ms=101), [("database_slow", "warning")]),
    ],
)
def test_clocks_and_latencies(reach, expected):
    assert [(each.code, each.severity) for each in check_servers([reach])] == expected


@pytest.mark.needs_postgres
def test_a_clock_that_differs_is_seen(monkeypatch):
    """By moving this process's own clock, as far as the look goes."""
    real = time.time
    monkeypatch.setattr("controlplane.system.reach.time.time", lambda: real() - 60)

    assert found()["clock_skew_database"].severity == "error"


def test_a_missing_migration_is_all_that_is_said_of_the_database():
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("agents", "0001_initial")
    Replica.objects.all().delete()

    finding = only()

    assert (finding.code, finding.do) == ("migrations_missing", "python manage.py migrate")
    assert "agents.0001_initial" in finding.detail


# --- what must work


@pytest.mark.parametrize("kind", ["web", "worker", "beat"])
def test_a_part_that_nobody_runs(kind):
    seen = timezone.now() - timedelta(hours=1)
    Replica.objects.filter(kind=kind).update(last_seen_at=seen, stopped_at=seen)

    finding = only()

    assert (finding.code, finding.severity, finding.since) == (f"no_{kind}", "error", seen)
    assert finding.do == f"python manage.py {kind}"


@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_jobs_that_nobody_runs_are_no_findings_of_their_own(kind):
    Replica.objects.filter(kind=kind).delete()
    BackgroundJob.objects.update(last_succeeded_at=timezone.now() - timedelta(hours=1))
    BackgroundJob.objects.filter(name="judge-nodes").update(last_error="ValueError: no")

    assert set(found()) == {f"no_{kind}", "job_failing"}


def test_a_process_that_fell_silent():
    seen = timezone.now() - timedelta(minutes=5)
    row = ReplicaFactory(kind="web", pid=99, last_seen_at=seen)

    assert (only().code, only().do, only().since) == ("process_silent", "kill 99", seen)

    Replica.objects.filter(pk=row.pk).update(stopped_at=timezone.now())
    assert found() == {}


def test_several_processes_need_servers_of_their_own(settings):
    row = ReplicaFactory(kind="web", pid=4712, last_seen_at=timezone.now())

    if connection.vendor == "sqlite":
        assert (only().code, only().severity) == ("sqlite_shared", "error")
    else:
        settings.REDIS_URL = ""
        assert (only().code, only().severity) == ("no_redis", "warning")

    row.delete()
    assert found() == {}


def test_ingest_that_fails_and_ingest_that_lags():
    queue = {"waiting": 9, "oldest_s": 60.0, "failing_since": time.time() - 30}
    web = Replica.objects.filter(kind="web")
    web.update(ingest={"queues": {"ingest": queue}})
    failing = only()
    web.update(ingest={"queues": {"ingest": queue | {"failing_since": None}}})
    lagging = only()
    web.update(ingest={"queues": {"ingest": queue | {"failing_since": None, "oldest_s": 1.0}}})

    assert (failing.code, lagging.code, found()) == ("ingest_failing", "ingest_lags", {})
    assert failing.since is not None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"last_error": "ValueError: no"}, "job_failing"),
        ({"last_started_at": None, "last_succeeded_at": None}, "job_never"),
        ({"last_succeeded_at": timezone.now() - timedelta(hours=1)}, "job_overdue"),
    ],
)
def test_a_job_that_does_not_fare_well(changes, code):
    BackgroundJob.objects.filter(name="sweep-liveness").update(**changes)

    finding = only()

    assert finding.code == code
    assert "sweep-liveness" in finding.title


def test_nodes_json_that_cannot_be_written():
    since = timezone.now() - timedelta(minutes=3)
    NodesFile.objects.update(failing_since=since, error="/p/nodes.json: No space left")

    assert (only().code, only().do, only().since) == ("nodes_json", "METRIC_NODES_JSON_PATH", since)


def test_an_agent_of_an_old_protocol_that_is_connected():
    session = SessionFactory(protocol_version="0", replica=Replica.objects.get(kind="web"))
    name = session.instance.node_name or session.instance.external_id

    assert (only().code, f"{name} (0)" in only().detail) == ("old_protocol", True)

    Session.objects.filter(pk=session.pk).update(protocol_version="1")
    assert found() == {}


def test_an_agent_of_an_old_protocol_that_was_refused():
    record_refusal(dialect="onestep", peer_address="10.1.1.1", reason="The agent token is missing.")
    before = found()
    message = "Protocol version 0 is not supported; this portal speaks 1."
    record_refusal(dialect="onestep", peer_address="10.9.9.9", reason=message)

    assert before == {}
    assert "10.9.9.9" in only().detail
    assert only().code == "old_protocol"


# --- storage


@pytest.mark.parametrize(("free", "severity"), [(9, "warning"), (2, "error")])
def test_a_disk_that_is_nearly_full(monkeypatch, free, severity):
    usage = shutil._ntuple_diskusage(100 * GB, (100 - free) * GB, free * GB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)

    assert {(each.code, each.severity) for each in Look(timezone.now()).findings} == {("disk_nearly_full", severity)}


def grown(table, by_per_day):
    now = timezone.now().replace(microsecond=0)
    for at, size in ((now - timedelta(days=1), 10 * GB), (now, 10 * GB + by_per_day)):
        TableSize.objects.create(taken_at=at, table=table, size_bytes=size)


def test_a_disk_that_will_be_full_soon(monkeypatch, tmp_path):
    monkeypatch.setattr(disks, "_folder_of_sqlite", lambda: tmp_path)
    monkeypatch.setattr(disks, "_folder_of_postgresql", lambda: tmp_path)
    grown("", 2 * GB)
    # 50 GB at 2 GB a day.
    before = found()
    TableSize.objects.all().delete()
    grown("", 5 * GB)

    assert before == {}
    assert (only().code, "10" in only().detail) == ("disk_full_soon", True)


def test_retention_that_is_as_good_as_off(settings):
    settings.RETENTION_TASK_EVENTS_DAYS = 36500
    before = found()
    grown("agents_event", GB)

    assert before == {}
    assert (only().code, only().do) == ("retention_off", "RETENTION_TASK_EVENTS_DAYS=90")

    settings.RETENTION_TASK_EVENTS_DAYS = 30
    assert found() == {}


def test_retention_that_is_behind():
    long_ago = timezone.now() - timedelta(days=4)
    BackgroundJob.objects.filter(name="apply-retention").update(completed_at=long_ago)
    before = found()
    grown("agents_command", GB)

    assert before == {}
    assert (only().code, only().severity, only().since) == ("retention_behind", "error", long_ago)


# --- people


@pytest.mark.parametrize("make", [AgentTokenFactory, ApiTokenFactory])
def test_a_token_that_expires_soon(make):
    user = {"user": UserFactory(role="viewer")} if make is ApiTokenFactory else {}
    token = make(**user, expires_at=timezone.now() + timedelta(days=13, hours=1))

    assert (only().code, token.name in only().detail) == ("tokens_expiring", True)

    type(token).objects.update(expires_at=timezone.now() + timedelta(days=15))
    assert found() == {}


def test_a_token_that_nobody_ever_used():
    token = AgentTokenFactory()
    before = found()
    type(token).objects.update(created_at=timezone.now() - timedelta(days=31))

    assert before == {}
    assert (only().code, only().severity) == ("tokens_unused", "info")

    type(token).objects.update(last_used_at=timezone.now())
    assert found() == {}


def test_a_user_without_a_role():
    user = UserFactory()
    finding = only()
    user.is_active = False
    user.save()

    assert (finding.code, user.username in finding.detail, found()) == ("users_without_role", True, {})


def test_a_superuser_who_does_not_come():
    user = UserFactory(is_superuser=True)
    before = found()
    long_ago = timezone.now() - timedelta(days=91)
    type(user).objects.filter(pk=user.pk).update(date_joined=long_ago)
    never = only()
    type(user).objects.filter(pk=user.pk).update(last_login=timezone.now())

    assert (before, never.code, never.since, found()) == ({}, "superusers_idle", long_ago, {})


# --- the schedule


def test_schedules_of_people_are_told_with_their_next_start():
    every = IntervalSchedule.objects.create(every=1, period="hours")
    last = timezone.now() - timedelta(minutes=20)
    PeriodicTask.objects.create(name="mine", task="a.b", interval=every, last_run_at=last)
    PeriodicTask.objects.create(name="off", task="a.b", interval=every, enabled=False)
    PeriodicTask.objects.create(name="late", task="a.b", interval=every, last_run_at=last - timedelta(hours=1))

    told = {each.name: each for each in jobs(timezone.now()) if not each.is_own}

    assert abs(told["mine"].next_at - (last + timedelta(hours=1))) < timedelta(seconds=5)
    assert (told["mine"].state, told["off"].state, told["late"].state) == ("ok", "off", "overdue")
    assert told["off"].next_at is None


# --- the command


def checked(*arguments):
    out = StringIO()
    try:
        call_command("selfcheck", *arguments, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


def test_the_command_says_that_nothing_is_wrong():
    assert checked() == (0, "Nothing is wrong.\n")


def test_the_command_fails_by_severity(settings):
    settings.DEBUG = True
    mild = checked()
    strict = checked("--fail-on", "warning")
    settings.SECRET_KEY = "short"

    assert (mild[0], strict[0], checked()[0]) == (0, 1, 1)
    assert "WARNING debug_on" in mild[1]
    assert "DEBUG=false" in mild[1]


def test_the_command_writes_json(settings):
    settings.DEBUG = True

    status, text = checked("--json")

    (finding,) = json.loads(text)
    assert (status, finding["code"], finding["since"]) == (0, "debug_on", None)


def test_findings_are_told_in_the_language_of_the_reader(settings):
    settings.DEBUG = True
    client = console_as("admin")

    page = client.get("/admin/system/live/").content.decode()

    assert 'data-code="debug_on"' in page
