"""One service at a glance: who is there, how they fare, what was ordered, what happened last."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q

from agents.models import Command, Event, Instance, Service, Session
from agents.models.instance import Connectivity, Health
from agents.selectors.events import task_events
from agents.selectors.instances import participating
from tasks_app.selectors.lookback import Lookback
from tasks_app.selectors.services import ServiceSummary, service_summary


@dataclass(frozen=True, slots=True)
class CommandOverview:
    """All stored commands of a service by status. Retention takes old ones away."""

    statuses: Mapping[str, int]
    active_session_count: int
    last_command_at: datetime | None
    last_completed_at: datetime | None

    @property
    def in_flight(self) -> int:
        return sum(self.statuses[status] for status in Command.OPEN)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`connectivity` and `health` count the participating instances by value. Source: contract 4.2, 4.3."""

    summary: ServiceSummary
    connectivity: Mapping[str, int]
    health: Mapping[str, int]
    commands: CommandOverview
    topology_hashes: list[str]
    recent_events: list[Event]

    @property
    def lookback(self) -> Lookback:
        return self.summary.lookback

    @property
    def instance_count(self) -> int:
        return sum(self.connectivity.values())

    @property
    def topology_consistent(self) -> bool:
        return len(self.topology_hashes) <= 1


def dashboard(service: Service, lookback: Lookback, *, event_limit: int) -> Dashboard:
    """Twelve queries at most, each of an index of the service, whatever the number of instances."""
    connectivity, health = _instances(service, lookback.now)
    return Dashboard(
        summary=service_summary(service, lookback),
        connectivity=connectivity,
        health=health,
        commands=_commands(service),
        topology_hashes=_topology_hashes(service),
        recent_events=list(task_events(service=service)[:event_limit]),
    )


def _instances(service: Service, now: datetime) -> tuple[dict[str, int], dict[str, int]]:
    """The participating instances by connectivity and by health."""
    connectivity = dict.fromkeys(Connectivity.values, 0)
    health = dict.fromkeys(Health.values, 0)
    rows = service.instances.filter(participating(now)).order_by().values_list("connectivity", "health")
    for is_there, fares, count in rows.annotate(count=Count("id")):
        connectivity[is_there] += count
        health[fares] += count
    return connectivity, health


def _commands(service: Service) -> CommandOverview:
    rows = Command.objects.filter(service=service)
    counted = rows.order_by().values_list("status").annotate(count=Count("id"), ended=Max("finished_at"))
    statuses, ends = dict.fromkeys(Command.Status.values, 0), []
    for status, count, ended in counted:
        statuses[status] = count
        ends.append(ended)
    last = rows.order_by("-created_at", "-id").values_list("created_at", flat=True).first()
    active = Session.objects.filter(service=service, status=Session.Status.ACTIVE).count()
    return CommandOverview(statuses, active, last, max((end for end in ends if end), default=None))


def _topology_hashes(service: Service) -> list[str]:
    """What the online instances run, each once; more than one means that they differ."""
    online = Instance.objects.filter(Q(service=service, connectivity=Connectivity.ONLINE) & ~Q(last_topology_hash=""))
    return sorted(online.order_by().values_list("last_topology_hash", flat=True).distinct())
