"""What the portal tells of itself: counts over the fleet, its commands and its background jobs, and its processes.

Any process tells of all of them, so that it suffices to scrape one, through the proxy.
"""

import platform
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import django
from django.db import connection
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from agents.models import BackgroundJob
from agents.selectors.figures import (
    active_session_counts,
    command_totals,
    instance_counts,
    live_replicas,
    open_command_counts,
)
from controlplane.celery import app as celery_app
from controlplane.prometheus.families import Sample, counter, gauge
from controlplane.prometheus.notifications import notification_metrics
from controlplane.prometheus.processes import process_metrics

# The one name of the contract, which its own alert rules expect; all others begin with portal_.
COMMANDS: Final = "onestep_control_plane_agent_commands_total"


def portal_text(now: datetime) -> str:
    """All of it in the text format of Prometheus. Cost: ten statements, none of them over history."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Portal(now))
    return generate_latest(registry).decode()


class _Portal(Collector):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        build = [((platform.python_version(), django.get_version(), connection.vendor), 1)]
        yield gauge("portal_build_info", "What the portal runs on.", ("python", "django", "database"), build)
        yield from _fleet()
        yield from _commands()
        yield from _jobs()
        yield from notification_metrics(self._now)
        yield from process_metrics(live_replicas(self._now))


def _fleet() -> Iterator[Metric]:
    instances = (((dialect, environment, state), count) for dialect, environment, state, count in instance_counts())
    yield gauge("portal_instances", "Instances that are known.", ("dialect", "environment", "connectivity"), instances)
    yield gauge("portal_sessions_active", "Open sessions.", ("dialect",), _samples(active_session_counts()))


def _commands() -> Iterator[Metric]:
    yield counter(COMMANDS, "Commands that ever came to this status.", ("status",), _samples(command_totals()))
    yield gauge("portal_commands_open", "Commands that have not ended.", ("status",), _samples(open_command_counts()))


def _samples(counts: Mapping[str, float]) -> list[Sample]:
    return [((value,), count) for value, count in sorted(counts.items())]


def _jobs() -> Iterator[Metric]:
    # Prometheus keeps a label `job` for itself and would call this one `exported_job`.
    names = sorted(celery_app.conf.beat_schedule)
    known = BackgroundJob.objects.in_bulk(names)
    jobs = [((name,), known[name]) for name in names if name in known]
    yield gauge(
        "portal_background_job_last_success_timestamp_seconds",
        "When a background job last ended well, as Unix time; 0 where it never did.",
        ("background_job",),
        (
            ((name,), job.last_succeeded_at.timestamp() if (job := known.get(name)) and job.last_succeeded_at else 0)
            for name in names
        ),
    )
    yield gauge(
        "portal_background_job_duration_seconds",
        "How long that run took.",
        ("background_job",),
        [(labels, job.last_duration_ms / 1000) for labels, job in jobs if job.last_duration_ms is not None],
    )
    yield gauge(
        "portal_background_job_failing",
        "Whether its last run failed.",
        ("background_job",),
        [(labels, int(bool(job.last_error))) for labels, job in jobs],
    )
