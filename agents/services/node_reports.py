"""Status reports of nodes: applied together where many come at once. Source: argus contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from agents.models import Instance, Node
from agents.models.event import EventKind
from agents.models.instance import Connectivity
from agents.selectors.nodes import NodeRecord, node_by_id, record_of, unknown_node
from agents.selectors.visibility import Environments
from agents.services.archive import restore_heard
from agents.services.errors import LEAVING, InstanceLeaving
from agents.services.events import NewEvent, portal_event, record_events
from agents.services.health import health_event
from agents.services.node_health import changed_components, health_of
from agents.services.node_rows import locked_nodes
from agents.services.nodes_file import nodes_file_changed
from controlplane.common.bulk import update_from_values
from controlplane.common.clean import is_same_json
from controlplane.common.joining import Joiner

# Reports that one transaction takes: as many as there are requests at work in one process.
BATCH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """`reported_at` is what the report says of itself; `environments` are those that its sender speaks for."""

    node_id: str
    reported_at: datetime
    health: Mapping[str, Mapping[str, Any]]
    environments: Environments = None


def record_report(report: StatusReport) -> NodeRecord:
    """The node with its report applied; joined with other reports of the same moment. Raises NotFound, and
    InstanceLeaving where the node is being forgotten.

    The report that comes last wins, whatever time it gives itself: a clock that was put back silences nobody, and one
    report that comes twice changes nothing. The node is online from then on.
    """
    record = _record_joined(report)
    if record is None:
        raise unknown_node(report.node_id)
    if isinstance(record, InstanceLeaving):
        raise record
    if record.meta_data is None:
        return node_by_id(report.node_id, report.environments)
    return record


@transaction.atomic
def record_reports(reports: Sequence[StatusReport]) -> list[NodeRecord | InstanceLeaving | None]:
    """The node of each report as it is after it, in the given order; None where there is none for its sender, and
    InstanceLeaving where it is being forgotten.

    Cost: one read that locks the rows and one update; one update more where what components say changed, and one
    insert where a status did. Nodes are locked in the order of their keys. A sweep that runs meanwhile passes over
    them, or has turned them offline before: then this turns them online again.
    """
    found = {instance.external_id: instance for instance in locked_nodes({report.node_id for report in reports})}
    # Read when the rows are locked: no later than this is said of them already.
    now = timezone.now()
    applied = _Applied(now)
    outcomes: list[NodeRecord | InstanceLeaving | None] = []
    for report in reports:
        instance = found.get(report.node_id)
        if instance is None or not _may_tell(report, instance):
            outcomes.append(None)
            continue
        if instance.forget_requested_at is not None:
            outcomes.append(InstanceLeaving(LEAVING % f"id: the node {report.node_id!r}"))
            continue
        applied.add(instance, report)
        outcomes.append(record_of(instance))
    applied.save()
    return outcomes


_record_joined: Joiner[StatusReport, NodeRecord | InstanceLeaving | None] = Joiner(record_reports, batch_size=BATCH_MAX)


def _may_tell(report: StatusReport, instance: Instance) -> bool:
    return report.environments is None or instance.service.environment in report.environments


class _Applied:
    """Reports of one batch, on the rows that they are about."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._instances: dict[str, Instance] = {}
        self._healths: dict[str, Node] = {}
        self._events: list[NewEvent] = []
        self._has_turned = False

    def add(self, instance: Instance, report: StatusReport) -> None:
        self._turn_online(instance)
        self._take_health(instance, report.health)
        instance.last_seen_at = self._now
        instance.last_heartbeat_sent_at = report.reported_at
        self._instances[instance.external_id] = instance

    def save(self) -> None:
        update_from_values(
            Instance,
            _COLUMNS,
            [tuple(getattr(instance, name) for name in _COLUMNS) for instance in self._instances.values()],
            assignments=_ASSIGNMENTS,
        )
        changed = [(node.instance_id, node.health) for node in self._healths.values()]
        update_from_values(Node, ("instance_id", "health"), changed, assignments="health = v.health")
        restore_heard(self._instances.values(), at=self._now)
        if self._events:
            record_events(self._events)
        if self._has_turned:
            nodes_file_changed()

    def _turn_online(self, instance: Instance) -> None:
        if instance.connectivity == Connectivity.ONLINE:
            return
        self._has_turned = True
        old, silent_since = instance.connectivity, instance.last_seen_at
        instance.connectivity, instance.connectivity_changed_at = Connectivity.ONLINE, self._now
        code, reason = "node_first_report", "Its first status report came."
        if silent_since is not None:
            code = "node_reported_again"
            reason = f"A status report came after {(self._now - silent_since).total_seconds():.0f} s of silence."
        meta = {"old": old, "new": Connectivity.ONLINE.value, "reason": reason}
        turned = portal_event(EventKind.INSTANCE_ONLINE, at=self._now, instance=instance, message=code, meta=meta)
        self._events.append(turned)

    def _take_health(self, instance: Instance, health: Mapping[str, Mapping[str, Any]]) -> None:
        node = instance.node
        if is_same_json(node.health, health):
            return
        changed = changed_components(node.health, health)
        old, instance.health = instance.health, health_of(health)
        if instance.health != old:
            instance.health_changed_at = self._now
        node.health = dict(health)
        self._healths[instance.external_id] = node
        if changed:
            event = health_event(instance, old=old, new=instance.health, at=self._now, components=changed)
            event.message = ", ".join(sorted(changed))[:500]
            self._events.append(event)


_COLUMNS = (
    "id",
    "connectivity",
    "connectivity_changed_at",
    "last_seen_at",
    "last_heartbeat_sent_at",
    "health",
    "health_changed_at",
)
_ASSIGNMENTS = ", ".join(f"{name} = v.{name}" for name in _COLUMNS[1:])
