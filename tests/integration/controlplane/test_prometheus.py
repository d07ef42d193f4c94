"""/metrics: who is let in, what stands in it, how it is written, and how long it is kept."""

import gzip
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import AgentToken, CommandTotals, Instance
from agents.services.transitions import count_transitions, store_transitions
from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token
from controlplane.celery import app as celery_app
from controlplane.common import gauges
from controlplane.common.actors import SYSTEM
from controlplane.common.gauges import publish_gauge, published_gauges
from controlplane.prometheus import kept, views
from controlplane.prometheus.kept import Busy, Keeper
from controlplane.prometheus.text import Exposition, Writer
from tasks_app.services.ingest import store_reports
from tests import frames
from tests.factories import (
    AgentTokenFactory,
    BackgroundJobFactory,
    CommandFactory,
    InstanceFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
)
from tests.integration.api_client import user_in
from tests.integration.scraping import CONFIGURED, bearer, scrape, scrape_text, value
from tests.integration.tasks_app.test_ingest import enrolled, reports

pytestmark = pytest.mark.django_db
TASK_FAMILIES = {
    "onestep_task_succeeded_total": "counter",
    "onestep_task_failed_total": "counter",
    "onestep_task_inflight": "gauge",
    "onestep_task_duration_avg_ms": "gauge",
    "onestep_task_custom_counter_total": "counter",
    "onestep_task_custom_gauge": "gauge",
}


@pytest.fixture(autouse=True)
def fresh(settings, monkeypatch):
    settings.INGEST_TOKENS = (CONFIGURED,)
    settings.PROMETHEUS_CACHE_TTL_S = 0
    monkeypatch.setattr(views, "keeper", Keeper())


@pytest.fixture
def agent():
    return enrolled(ServiceFactory(name="demo"))


def report(agent, *windows):
    store_reports(reports(agent, agent.metrics(*windows)))


def tasks_of(samples):
    """The tasks that have series."""
    return {labels["task"] for labels, _value in samples.get("onestep_task_succeeded_total", ())}


# --- who is let in


@pytest.mark.parametrize(
    "headers", [{}, bearer(""), bearer("wrong"), bearer("opt_wrong"), {"Authorization": "Basic x"}]
)
def test_without_a_good_bearer_there_is_nothing(client, headers):
    answer = client.get("/metrics", headers=headers)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "the bearer token is missing, unknown, revoked or expired"}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="metrics"'


@pytest.mark.parametrize("shown", ["", "wrong"])
def test_where_no_token_is_configured_nobody_could_scrape(client, settings, shown):
    settings.INGEST_TOKENS = ()

    answer = client.get("/metrics", headers=bearer(shown))

    assert (answer.status_code, answer.json()) == (503, {"detail": "no token is configured"})


@pytest.mark.parametrize("kind", ["agent", "api"])
def test_a_stored_token_of_either_kind_makes_a_bad_bearer_a_bad_bearer(client, settings, kind):
    settings.INGEST_TOKENS = ()
    if kind == "agent":
        AgentTokenFactory()
    else:
        create_api_token(name="a", actor=SYSTEM, user=user_in("viewer"))

    assert client.get("/metrics", headers=bearer("wrong")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"dialects": ["onestep"]}, 200),
        ({"dialects": ["argus"]}, 401),
        ({"revoked_at": timezone.now()}, 401),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, 401),
        ({"expires_at": timezone.now() + timedelta(days=1)}, 200),
    ],
)
def test_an_agent_token_opens_while_it_can_be_used(client, changes, status):
    AgentTokenFactory(secret="oat_known", **changes)

    assert client.get("/metrics", headers=bearer("oat_known")).status_code == status


@pytest.mark.parametrize(
    ("role", "changes", "status"),
    [
        ("viewer", {}, 200),
        (None, {}, 403),
        ("viewer", {"revoked_at": timezone.now()}, 401),
        ("admin", {"expires_at": timezone.now() - timedelta(seconds=1)}, 401),
    ],
)
def test_an_api_token_that_may_read_opens(client, role, changes, status):
    token, secret = create_api_token(name="a", actor=SYSTEM, user=user_in(role), scope=ApiToken.Scope.READ)
    ApiToken.objects.filter(pk=token.pk).update(**changes)

    assert client.get("/metrics", headers=bearer(secret)).status_code == status


def test_a_login_of_the_console_is_no_bearer(client):
    client.force_login(user_in("admin"))

    assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize("kind", ["agent", "api"])
def test_a_narrowed_token_sees_the_series_of_its_environments_alone(client, kind):
    for environment in ("dev", "staging", "prod"):
        service = ServiceFactory(name="demo", environment=environment)
        one = enrolled(service)
        report(one, frames.window(environment, custom_metrics=[counter("rows", 1)]))
    if kind == "agent":
        AgentTokenFactory(secret="oat_known", environments=["staging", "dev"])
        secret = "oat_known"
    else:
        _, secret = create_api_token(name="a", actor=SYSTEM, user=user_in("viewer"), environments=["staging", "dev"])

    samples = scrape(client, secret)

    assert tasks_of(samples) == {"dev", "staging"}
    assert {labels["task"] for labels, _ in samples["onestep_task_custom_counter_total"]} == {"dev", "staging"}
    # Counts over the whole portal would tell of the third.
    assert [name for name in samples if not name.startswith("onestep_task_")] == ["portal_exported_series_left_out"]
    assert tasks_of(scrape(client)) == {"dev", "staging", "prod"}


def test_only_reading_is_possible(client):
    assert client.post("/metrics", headers=bearer(CONFIGURED)).status_code == 405
    assert client.head("/metrics", headers=bearer(CONFIGURED) | {"Accept-Encoding": "gzip"}).status_code == 200


# --- how it is written


def counter(name, amount, **labels):
    return {"name": name, "kind": "counter", "value": amount, "labels": labels}


def test_the_answer_is_of_the_type_of_the_contract(client):
    answer = client.get("/metrics", headers=bearer(CONFIGURED) | {"Accept-Encoding": "gzip"})

    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "gzip; q=0.0, br"])
async def test_whoever_takes_no_gzip_gets_plain_text(accepted, agent_of_one_task):
    answer = await AsyncClient().get("/metrics", headers=bearer(CONFIGURED) | {"Accept-Encoding": accepted})

    body = b"".join([piece async for piece in answer.streaming_content]).decode()
    assert "Content-Encoding" not in answer.headers
    assert body.startswith("# HELP onestep_task_succeeded_total Deliveries that succeeded.\n")
    assert 'task="tick"} 2.0\n' in body


@pytest.fixture
def agent_of_one_task(transactional_db, agent):
    report(agent, frames.window("tick", succeeded=2))


@pytest.mark.parametrize("reported", [True, False])
def test_each_family_of_the_contract_has_help_and_type_whether_it_has_samples_or_not(client, agent, reported):
    if reported:
        report(agent, frames.window(avg_duration_ms=1, custom_metrics=[counter("rows", 1)]))

    lines = scrape_text(client).splitlines()

    for name, kind in TASK_FAMILIES.items():
        head = lines.index(f"# TYPE {name} {kind}")
        assert lines[head - 1].startswith(f"# HELP {name} ")


def test_a_task_has_its_totals_and_the_figures_of_its_latest_window(client, agent):
    report(agent, frames.window(window_id="w1", succeeded=5, failed=2, inflight=9, avg_duration_ms=80))
    report(agent, frames.window(window_id="w2", succeeded=1, failed=1, inflight=3, avg_duration_ms=12.5))

    lines = scrape_text(client).splitlines()

    labels = f'{{environment="dev",instance_id="{agent.instance_id}",service="demo",task="tick"}}'
    assert f"onestep_task_succeeded_total{labels} 6.0" in lines
    assert f"onestep_task_failed_total{labels} 3.0" in lines
    assert f"onestep_task_inflight{labels} 3" in lines
    assert f"onestep_task_duration_avg_ms{labels} 12.5" in lines


def test_a_duration_that_is_not_known_has_no_sample(client, agent):
    report(agent, frames.window(avg_duration_ms=None))

    assert "onestep_task_duration_avg_ms" not in scrape(client)


def test_custom_metrics_carry_their_name_and_labels_in_order(client, agent):
    depth = {"name": "depth", "kind": "gauge", "value": 4, "labels": {}}
    report(agent, frames.window(custom_metrics=[counter("rows", 2.5, zone="b", area="x"), depth]))

    lines = scrape_text(client).splitlines()

    fixed = f'environment="dev",instance_id="{agent.instance_id}",metric='
    rest = 'service="demo",task="tick"'
    assert f'onestep_task_custom_counter_total{{area="x",{fixed}"rows",{rest},zone="b"}} 2.5' in lines
    assert f'onestep_task_custom_gauge{{{fixed}"depth",{rest}}} 4.0' in lines


@pytest.mark.parametrize("text", ['a"b', "a\\", "a\nb", "\\n", "任务 é", 'x",y="z', "}", "a\rb", "\u2028"])
def test_values_of_labels_come_out_as_they_went_in(client, text):
    one = enrolled(ServiceFactory(name=text))
    report(one, frames.window(text, custom_metrics=[counter("rows", 1, note=text)]))

    samples = scrape(client)

    ((labels, _),) = samples["onestep_task_succeeded_total"]
    assert (labels["service"], labels["task"]) == (text, text)
    ((labels, _),) = samples["onestep_task_custom_counter_total"]
    assert labels["note"] == text


def test_names_of_labels_that_are_prometheus_own_are_renamed(client, agent):
    report(agent, frames.window(custom_metrics=[counter("rows", 1, __name__="evil", __x="1")]))

    ((labels, _),) = scrape(client)["onestep_task_custom_counter_total"]

    assert (labels["label__name__"], labels["label__x"], labels["metric"]) == ("evil", "1", "rows")


def test_labels_of_the_portal_win_over_stored_ones(client, agent):
    report(agent, frames.window(custom_metrics=[counter("rows", 1)]))
    agent.session.instance.custom_metric_totals.update(labels={"service": "evil", "metric": "evil"})

    ((labels, _),) = scrape(client)["onestep_task_custom_counter_total"]

    assert (labels["service"], labels["metric"]) == ("demo", "rows")


# --- what stands in it


@pytest.mark.parametrize(("silent_s", "is_there"), [(0, True), (86_000, True), (87_000, False)])
def test_series_are_of_instances_that_were_heard_of_within_the_window(client, agent, silent_s, is_there):
    report(agent, frames.window())
    Instance.objects.update(last_seen_at=timezone.now() - timedelta(seconds=silent_s))

    assert bool(tasks_of(scrape(client))) is is_there


def test_an_instance_that_comes_back_goes_on_where_it_was(client, agent):
    report(agent, frames.window(window_id="w1", succeeded=5))
    Instance.objects.update(last_seen_at=timezone.now() - timedelta(days=9))
    assert not tasks_of(scrape(client))

    store_reports(reports(agent, agent.heartbeat(), agent.metrics(frames.window(window_id="w2", succeeded=1))))

    assert value(scrape(client), "onestep_task_succeeded_total") == 6


def test_what_is_beyond_the_limit_is_left_out_and_counted(client, agent, settings):
    settings.PROMETHEUS_SERIES_MAX = 11
    metrics = [counter("rows", 1, n=str(number)) for number in range(5)]
    report(agent, *(frames.window(name, avg_duration_ms=1) for name in "abc"))
    report(agent, frames.window("a", "w2", custom_metrics=metrics))

    samples = scrape(client)

    assert tasks_of(samples) == {"a", "b"}
    assert len(samples["onestep_task_custom_counter_total"]) == 3
    assert value(samples, "portal_exported_series_left_out", group="tasks") == 4
    assert value(samples, "portal_exported_series_left_out", group="custom") == 2


def test_nothing_is_left_out_below_the_limit(client, agent, settings):
    settings.PROMETHEUS_SERIES_MAX = 5
    report(agent, frames.window(avg_duration_ms=1, custom_metrics=[counter("rows", 1)]))

    samples = scrape(client)

    assert [value for _, value in samples["portal_exported_series_left_out"]] == [0, 0]


def test_many_series_cost_as_many_statements_as_few(client, agent):
    statements = []
    for count in (1, 20):
        report(agent, *(frames.window(f"t{n}", custom_metrics=[counter("rows", 1)]) for n in range(count)))
        with CaptureQueriesContext(connection) as queries:
            scrape(client)
        statements.append(len(queries))

    assert statements[0] == statements[1] <= 14


# --- of the portal itself


def test_instances_are_counted_by_dialect_environment_and_connectivity(client):
    InstanceFactory.create_batch(2, online=True, service__environment="prod")
    InstanceFactory(dialect="argus")

    samples = scrape(client)["portal_instances"]

    assert {tuple(labels.values()): count for labels, count in samples} == {
        ("online", "onestep", "prod"): 2,
        ("offline", "onestep", "prod"): 0,
        ("never_reported", "onestep", "prod"): 0,
        ("online", "argus", "dev"): 0,
        ("offline", "argus", "dev"): 0,
        ("never_reported", "argus", "dev"): 1,
    }


def test_open_sessions_are_counted_by_dialect(client):
    SessionFactory.create_batch(2)
    SessionFactory(status="disconnected")

    assert scrape(client)["portal_sessions_active"] == [({"dialect": "onestep"}, 2)]


def test_commands_are_counted_by_status(client):
    CommandFactory.create_batch(2, status="dispatched")
    CommandFactory(status="succeeded")
    CommandTotals.objects.create(status="succeeded", count=7)

    samples = scrape(client)

    assert {labels["status"]: count for labels, count in samples["portal_commands_open"]} == {
        "pending": 0,
        "dispatched": 2,
        "accepted": 0,
    }
    name = "onestep_control_plane_agent_commands_total"
    assert (value(samples, name, status="succeeded"), value(samples, name, status="failed")) == (7, 0)
    assert all(set(labels) == {"status"} for labels, _ in samples[name])


def test_background_jobs_tell_when_they_last_ended_well(client):
    now = timezone.now()
    BackgroundJobFactory(name="sweep-liveness", last_succeeded_at=now, last_duration_ms=250, last_error="x")

    samples = scrape(client)

    name = "portal_background_job_last_success_timestamp_seconds"
    assert value(samples, name, background_job="sweep-liveness") == pytest.approx(now.timestamp(), abs=0.01)
    assert {labels["background_job"] for labels, _ in samples[name]} == set(celery_app.conf.beat_schedule)
    assert value(samples, name, background_job="apply-retention") == 0
    assert samples["portal_background_job_duration_seconds"] == [({"background_job": "sweep-liveness"}, 0.25)]
    assert value(samples, "portal_background_job_failing", background_job="sweep-liveness") == 1


def published(**changes):
    queue = {
        "waiting": 3,
        "waiting_bytes": 900,
        "producers_waiting": 1,
        "oldest_s": 0.5,
        "written": 10,
        "batches": 2,
        "poisoned": 1,
        "retries": 4,
        "last_flush_at": 0.0,
        "last_flush_s": 0.02,
        "last_lag_s": 0.03,
        "failing_since": None,
    }
    traffic = {
        "frames_received": {"telemetry": 5},
        "frames_refused": {"invalid_message": 2},
        "records_refused": {"events": 6},
        "connections_refused": {"unauthorized": 8},
        "sessions_opened": 9,
        "sessions_ended": {"superseded": 4},
        "frames_per_s": 2.5,
    }
    figures = {
        "connections": 11,
        "queues": {"ingest": queue},
        "traffic": traffic,
        "gauges": {
            "event_streams": 2,
            "logins_succeeded": 7,
            "logins_failed": 3,
            "logins_refused": 2,
            "logins_lockouts": 1,
        },
        "latency": {"database_s": 0.001, "redis_s": 0.002},
    }
    return figures | changes


def test_processes_that_live_tell_what_they_published(client):
    web = ReplicaFactory(ingest=published())
    worker = ReplicaFactory(kind="worker", ingest={"latency": {"database_s": 0.004, "redis_s": None}})
    ReplicaFactory(ingest=published(), stopped_at=timezone.now())
    ReplicaFactory(ingest=published(), last_seen_at=timezone.now() - timedelta(minutes=5))

    samples = scrape(client)

    of_web = {"replica": str(web.pk), "kind": "web"}
    of_worker = {"replica": str(worker.pk), "kind": "worker"}
    for name, labels, expected in [
        ("portal_ingest_queue_depth", {"queue": "ingest"}, 3),
        ("portal_ingest_queue_bytes", {"queue": "ingest"}, 900),
        ("portal_ingest_queue_oldest_seconds", {"queue": "ingest"}, 0.5),
        ("portal_ingest_lag_seconds", {"queue": "ingest"}, 0.03),
        ("portal_ingest_flush_seconds", {"queue": "ingest"}, 0.02),
        ("portal_ingest_sockets_waiting", {"queue": "ingest"}, 1),
        ("portal_ingest_records_stored_total", {"queue": "ingest"}, 10),
        ("portal_ingest_records_left_out_total", {"queue": "ingest"}, 1),
        ("portal_ingest_batches_total", {"queue": "ingest"}, 2),
        ("portal_ingest_retries_total", {"queue": "ingest"}, 4),
        ("portal_agent_connections", {}, 11),
        ("portal_agent_frames_received_total", {"type": "telemetry"}, 5),
        ("portal_agent_frames_refused_total", {"reason": "invalid_message"}, 2),
        ("portal_agent_records_refused_total", {"channel": "events"}, 6),
        ("portal_agent_connections_refused_total", {"reason": "unauthorized"}, 8),
        ("portal_sessions_opened_total", {}, 9),
        ("portal_sessions_ended_total", {"status": "superseded"}, 4),
        ("portal_event_streams", {}, 2),
        ("portal_login_lockouts_total", {}, 1),
        ("portal_redis_latency_seconds", {}, 0.002),
    ]:
        assert samples[name] == [(of_web | labels, expected)], name
    logins = {labels["outcome"]: count for labels, count in samples["portal_logins_total"]}
    assert logins == {"succeeded": 7, "failed": 3, "refused": 2}
    latencies = [value(samples, "portal_database_latency_seconds", **each) for each in (of_web, of_worker)]
    assert latencies == [0.001, 0.004]
    assert (value(samples, "portal_redis_up", **of_web), value(samples, "portal_redis_up", **of_worker)) == (1, 0)
    started = value(samples, "portal_process_start_time_seconds", **of_web, host="test-host", pid=str(web.pid))
    assert started == pytest.approx(web.process_started_at.timestamp(), abs=0.01)


def test_a_process_of_another_release_spoils_nothing(client):
    ReplicaFactory(ingest={"queues": {"ingest": {"waiting": 1}}, "traffic": {}})

    samples = scrape(client)

    assert [count for _, count in samples["portal_ingest_queue_depth"]] == [1]
    # Nobody in this portal listens to live events.
    assert "portal_event_streams" not in scrape_text(client)


def test_what_the_portal_runs_on_is_told(client):
    ((labels, one),) = scrape(client)["portal_build_info"]

    assert (labels["database"], one) == (connection.vendor, 1)


def test_a_part_of_a_process_may_publish_a_figure(monkeypatch):
    monkeypatch.setattr(gauges, "_read", {})
    publish_gauge("event_streams", lambda: 1)
    publish_gauge("event_streams", lambda: 3)

    assert published_gauges() == {"event_streams": 3}


# --- moves of commands


@pytest.fixture
def nothing_counted(monkeypatch):
    monkeypatch.setattr("agents.services.transitions._counted", Counter())


def test_moves_are_added_to_the_totals_once(nothing_counted):
    CommandTotals.objects.create(status="failed", count=5)
    count_transitions({"failed": 2, "pending": 1})

    store_transitions()
    store_transitions()

    assert dict(CommandTotals.objects.values_list("status", "count")) == {"failed": 7, "pending": 1}


def test_moves_that_could_not_be_stored_are_kept(nothing_counted, monkeypatch):
    count_transitions({"failed": 2})

    def fail(*_args, **_options):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("agents.services.transitions.upsert", fail)
        with pytest.raises(RuntimeError):
            store_transitions()
    store_transitions()

    assert CommandTotals.objects.get().count == 2


# --- how long it is kept


def test_an_answer_is_given_again_until_it_is_too_old(client, agent, settings, monkeypatch):
    settings.PROMETHEUS_CACHE_TTL_S = 15
    now = [100.0]
    monkeypatch.setattr(views, "keeper", Keeper(clock=lambda: now[0]))
    report(agent, frames.window(window_id="w1", succeeded=1))
    totals = []

    for at, window_id in ((100.0, "w2"), (114.9, "w3"), (115.0, "w4")):
        now[0] = at
        totals.append(value(scrape(client), "onestep_task_succeeded_total"))
        report(agent, frames.window(window_id=window_id, succeeded=1))

    assert totals == [1, 1, 3]


def test_a_kept_answer_is_for_those_with_the_same_environments(client, agent, settings):
    settings.PROMETHEUS_CACHE_TTL_S = 15
    AgentTokenFactory(secret="oat_prod", environments=["prod"])
    report(agent, frames.window())

    assert tasks_of(scrape(client)) == {"tick"}
    assert tasks_of(scrape(client, "oat_prod")) == set()
    AgentToken.objects.update(revoked_at=timezone.now())
    assert client.get("/metrics", headers=bearer("oat_prod")).status_code == 401


def test_a_time_to_live_of_none_keeps_nothing(client, agent):
    report(agent, frames.window(window_id="w1", succeeded=1))
    assert value(scrape(client), "onestep_task_succeeded_total") == 1

    report(agent, frames.window(window_id="w2", succeeded=1))

    assert value(scrape(client), "onestep_task_succeeded_total") == 2


def test_so_many_variants_are_kept_at_most():
    keeper, made = Keeper(clock=lambda: 0.0), []

    def ask(name):
        keeper.get(frozenset([name]), lambda: made.append(name) or Exposition(b""), ttl_s=10)

    for number in range(kept.VARIANTS_MAX + 1):
        ask(str(number))
    ask(str(kept.VARIANTS_MAX))
    ask("0")

    assert made == [str(number) for number in range(kept.VARIANTS_MAX + 1)] + ["0"]


def test_who_scrapes_at_the_same_time_shares_one_answer():
    keeper, made, barrier = Keeper(), [], threading.Barrier(4)

    def scrape_once():
        barrier.wait(10)
        keeper.get(None, lambda: made.append(1) or Exposition(b""), ttl_s=10)

    threads = [threading.Thread(target=scrape_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [1]


def test_who_would_wait_too_long_is_told_to_come_again(client, monkeypatch):
    def busy(*_args, **_options):
        raise Busy("another answer is being made; try again later")

    monkeypatch.setattr(views.keeper, "get", busy)

    answer = client.get("/metrics", headers=bearer(CONFIGURED))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_an_answer_under_way_is_waited_for_so_long(monkeypatch):
    monkeypatch.setattr(kept, "PATIENCE_S", 0.0)
    keeper = Keeper()

    with pytest.raises(Busy):
        keeper.get(None, lambda: keeper.get(None, lambda: Exposition(b""), ttl_s=0), ttl_s=0)


def test_a_long_text_comes_back_in_pieces_of_bounded_size():
    writer = Writer()
    lines = [f'a{{b="{number}"}} 1\n' for number in range(100_000)]
    writer.family("a", "gauge", "Help.", lines)

    exposition = writer.finished()

    pieces = list(exposition.pieces())
    assert max(map(len, pieces)) <= 256 * 1024
    assert b"".join(pieces).decode() == "# HELP a Help.\n# TYPE a gauge\n" + "".join(lines)
    assert gzip.decompress(exposition.compressed) == b"".join(pieces)
