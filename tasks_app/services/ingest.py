"""One batch of reports, of all kinds and many instances, in one transaction."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.models import Instance
from agents.models.event import EventKind
from agents.services.events import portal_event, record_events
from agents.services.reports import Heartbeat, Rejection, Report, TaskEvent, Topology, Touch, Window
from agents.services.sessions import touch_sessions
from agents.services.telemetry import apply_heartbeats, newest_heartbeats, record_rejections
from tasks_app.services.controls import store_controls
from tasks_app.services.metrics import store_windows
from tasks_app.services.task_events import store_task_events
from tasks_app.services.topology import apply_topology, newest_topologies

logger = logging.getLogger(__name__)


def store_reports(reports: Sequence[Report]) -> None:
    """Store a batch; what raised may be stored in part, and storing it again completes it.

    Topologies come first, each in a transaction of its own: it locks its instance and then its service, and two
    processes that held several of both would lock each other out. Everything else is one transaction that locks
    instances before sessions.

    Of several topologies or heartbeats of one instance only the newest is applied, which is what applying them one
    after the other would leave. Statements: constant for heartbeats, windows, events and touches; some per topology.
    """
    for topology in newest_topologies([report for report in reports if isinstance(report, Topology)]):
        apply_topology(topology)
    with transaction.atomic():
        _store_others(reports)


def _store_others(reports: Sequence[Report]) -> None:
    heartbeats = newest_heartbeats([report for report in reports if isinstance(report, Heartbeat)])
    apply_heartbeats(heartbeats)
    store_controls(heartbeats)
    store_windows([report for report in reports if isinstance(report, Window)])
    store_task_events([report for report in reports if isinstance(report, TaskEvent)])
    record_rejections([report for report in reports if isinstance(report, Rejection)])
    touch_sessions(_newest_touches(reports))


def _newest_touches(reports: Sequence[Report]) -> list[tuple[UUID, datetime]]:
    newest: dict[UUID, datetime] = {}
    for report in reports:
        if isinstance(report, Touch):
            newest[report.session_id] = max(report.received_at, newest.get(report.session_id, report.received_at))
    return list(newest.items())


def report_poison(report: Report, error: Exception) -> None:
    """Record that a report could not be stored; the rest of its batch was."""
    if isinstance(report, Touch):
        return
    instance_id = report.service.instance_id if isinstance(report, Heartbeat | Topology) else report.instance_id
    logger.error("ingest.unstorable kind=%s instance=%s error=%s", type(report).__name__, instance_id, error)
    instance = Instance.objects.filter(pk=instance_id).first()
    # The error's text may quote the value that the database refused, so only its type is stored.
    meta = {"report": type(report).__name__, "error": type(error).__name__}
    record_events([portal_event(EventKind.INGEST_REJECTED, at=timezone.now(), instance=instance, meta=meta)])
