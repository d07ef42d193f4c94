"""One batch of reports, of all kinds and many instances, in one transaction."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from agents.models import Instance
from agents.models.event import EventKind
from agents.services.events import portal_event, record_events
from agents.services.reports import Heartbeat, Rejection, Report, TaskEvent, Topology, Window
from agents.services.telemetry import apply_heartbeats, newest_heartbeats, record_rejections
from tasks_app.services.controls import store_controls
from tasks_app.services.metrics import store_windows
from tasks_app.services.task_events import store_task_events
from tasks_app.services.topology import apply_topologies, newest_topologies

logger = logging.getLogger(__name__)


def store_reports(reports: Sequence[Report]) -> None:
    """Store a batch; what raised may be stored in part, and storing it again completes it.

    Topologies come first, in a transaction of their own that locks instances before services. Everything else is one
    transaction. Each locks rows of one table in the order of their keys, so that
    no two processes lock each other out.

    Of several topologies or heartbeats of one instance only the newest is applied, which is what applying them one
    after the other would leave. Statements: a constant number, whatever the count.
    """
    of_kind: defaultdict[type[Report], list[Any]] = defaultdict(list)
    for report in reports:
        of_kind[type(report)].append(report)
    apply_topologies(newest_topologies(of_kind[Topology]))
    with transaction.atomic():
        heartbeats = newest_heartbeats(of_kind[Heartbeat])
        apply_heartbeats(heartbeats)
        store_controls(heartbeats)
        store_windows(of_kind[Window])
        store_task_events(of_kind[TaskEvent])
        record_rejections(of_kind[Rejection])


def report_poison(report: Report, error: Exception) -> None:
    """Record that a report could not be stored; the rest of its batch was."""
    instance_id = report.service.instance_id if isinstance(report, Heartbeat | Topology) else report.instance_id
    logger.error("ingest.unstorable kind=%s instance=%s error=%s", type(report).__name__, instance_id, error)
    instance = Instance.objects.filter(pk=instance_id).first()
    # The error's text may quote the value that the database refused, so only its type is stored.
    meta = {"report": type(report).__name__, "error": type(error).__name__}
    record_events([portal_event(EventKind.INGEST_REJECTED, at=timezone.now(), instance=instance, meta=meta)])
