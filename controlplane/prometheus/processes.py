"""What each live process of the portal published with its pulse, labelled with its replica.

What counts since the start of a process begins anew with the next one, under another replica.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import Metric

from agents.models import Replica
from controlplane.prometheus.families import Sample, counter, gauge

_LABELS: Final = ("replica", "kind")
_COUNTER, _GAUGE = counter, gauge

# Of each queue of a process: type, name, the key among its figures, help.
_QUEUES: Final = (
    (_GAUGE, "portal_ingest_queue_depth", "waiting", "Records that wait to be stored."),
    (_GAUGE, "portal_ingest_queue_bytes", "waiting_bytes", "What they take in memory, by an estimate."),
    (_GAUGE, "portal_ingest_queue_oldest_seconds", "oldest_s", "For how long the oldest of them has waited."),
    (
        _GAUGE,
        "portal_ingest_lag_seconds",
        "last_lag_s",
        "For how long the oldest record of the last batch had waited when it was stored.",
    ),
    (_GAUGE, "portal_ingest_flush_seconds", "last_flush_s", "How long the last batch took to be stored."),
    (
        _GAUGE,
        "portal_ingest_sockets_waiting",
        "producers_waiting",
        "Sockets that wait because the queue is full.",
    ),
    (_COUNTER, "portal_ingest_records_stored_total", "written", "Records that were stored, or were known already."),
    (
        _COUNTER,
        "portal_ingest_records_left_out_total",
        "poisoned",
        "Records that the database refused, and that were left out.",
    ),
    (_COUNTER, "portal_ingest_batches_total", "batches", "Batches that were stored."),
    (_COUNTER, "portal_ingest_retries_total", "retries", "How often a batch had to wait for the database."),
)
# Of the sockets of a process: name, the key among its figures, label, help.
_TRAFFIC: Final = (
    ("portal_agent_frames_received_total", "frames_received", "type", "Frames of agents that could be read."),
    (
        "portal_agent_frames_refused_total",
        "frames_refused",
        "reason",
        "Errors sent to agents, by code; those of rate_limited were taken, later.",
    ),
    ("portal_agent_records_refused_total", "records_refused", "channel", "Records left out of frames that were taken."),
    ("portal_agent_connections_refused_total", "connections_refused", "reason", "Agents that were turned away."),
    ("portal_sessions_ended_total", "sessions_ended", "status", "Sessions that ended, by how."),
)
# What a part of a process publishes by itself: name, the name that it publishes under, help.
_PUBLISHED: Final = (("portal_event_streams", "event_streams", "Pages and programs that listen to live events."),)
# Of the logins at a process: the outcome, and the name that it is published under.
_LOGINS: Final = (("succeeded", "logins_succeeded"), ("failed", "logins_failed"), ("refused", "logins_refused"))


def process_metrics(replicas: Sequence[Replica]) -> Iterator[Metric]:
    """The families of the processes; a figure that a process did not publish has no sample."""
    yield gauge(
        "portal_process_start_time_seconds",
        "When a process of the portal started, as Unix time.",
        (*_LABELS, "host", "pid"),
        (
            ((*_names(each), each.host_id.partition("/")[0], str(each.pid)), each.process_started_at.timestamp())
            for each in replicas
        ),
    )
    yield from _queues(replicas)
    yield from _traffic(replicas)
    yield from _latencies(replicas)
    yield from _logins(replicas)
    for name, key, documentation in _PUBLISHED:
        samples = [(_names(each), value) for each, value in _figures(replicas, "gauges", key)]
        if samples:
            yield gauge(name, documentation, _LABELS, samples)


def _queues(replicas: Sequence[Replica]) -> Iterator[Metric]:
    queues = [
        ((*_names(each), queue), figures)
        for each in replicas
        for queue, figures in sorted(each.ingest.get("queues", {}).items())
    ]
    for family, name, key, documentation in _QUEUES:
        samples = [(labels, figures[key]) for labels, figures in queues if key in figures]
        yield family(name, documentation, (*_LABELS, "queue"), samples)


def _traffic(replicas: Sequence[Replica]) -> Iterator[Metric]:
    connections = [(_names(each), each.ingest["connections"]) for each in replicas if "connections" in each.ingest]
    yield gauge("portal_agent_connections", "Connections of agents that are open.", _LABELS, connections)
    opened = [(_names(each), value) for each, value in _figures(replicas, "traffic", "sessions_opened")]
    yield counter("portal_sessions_opened_total", "Sessions that were opened.", _LABELS, opened)
    for name, key, label, documentation in _TRAFFIC:
        samples = [
            ((*_names(each), value), count)
            for each, counts in _figures(replicas, "traffic", key)
            for value, count in sorted(counts.items())
        ]
        yield counter(name, documentation, (*_LABELS, label), samples)


def _logins(replicas: Sequence[Replica]) -> Iterator[Metric]:
    attempts = [
        ((*_names(each), outcome), value)
        for outcome, key in _LOGINS
        for each, value in _figures(replicas, "gauges", key)
    ]
    documentation = "Logins at the console and the API, by outcome; refused are those that a limit did not let try."
    yield counter("portal_logins_total", documentation, (*_LABELS, "outcome"), attempts)
    lockouts = [(_names(each), value) for each, value in _figures(replicas, "gauges", "logins_lockouts")]
    yield counter("portal_login_lockouts_total", "Failed logins that began a lock.", _LABELS, lockouts)


def _latencies(replicas: Sequence[Replica]) -> Iterator[Metric]:
    database = [(_names(each), value) for each, value in _figures(replicas, "latency", "database_s")]
    yield gauge("portal_database_latency_seconds", "One round trip to the database.", _LABELS, database)
    redis = [(_names(each), value) for each, value in _figures(replicas, "latency", "redis_s")]
    answered: list[Sample] = [(labels, value) for labels, value in redis if value is not None]
    yield gauge("portal_redis_latency_seconds", "One round trip to Redis.", _LABELS, answered)
    up: list[Sample] = [(labels, int(value is not None)) for labels, value in redis]
    yield gauge("portal_redis_up", "Whether Redis answered, where there is one.", _LABELS, up)


def _figures(replicas: Sequence[Replica], group: str, key: str) -> Iterator[tuple[Replica, Any]]:
    for replica in replicas:
        published: Mapping[str, Any] = replica.ingest.get(group, {})
        if key in published:
            yield replica, published[key]


def _names(replica: Replica) -> tuple[str, str]:
    return str(replica.pk), replica.kind
