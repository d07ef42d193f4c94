"""Counts over the fleet, its sessions, commands and processes, each bounded by what is open or there now."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count

from agents.models import Command, CommandTotals, Replica, Session
from agents.models.instance import Connectivity
from agents.selectors.instances import kept

# More combinations of dialect, environment and connectivity than this are not told apart by anybody.
INSTANCE_GROUPS_MAX = 1000


def instance_counts() -> Iterator[tuple[str, str, str, int]]:
    """Dialect, environment, connectivity and how many instances; of the INSTANCE_GROUPS_MAX largest groups.

    Each connectivity is named, so that the first instance that goes offline is a rise; archived ones are left out.
    Cost: one scan of the instances.
    """
    groups = kept().values_list("dialect", "service__environment", "connectivity")
    counted = groups.annotate(instance_count=Count("pk")).order_by("-instance_count", "dialect", "service__environment")
    counts = {tuple(group): count for *group, count in counted[:INSTANCE_GROUPS_MAX]}
    for dialect, environment in sorted({(dialect, environment) for dialect, environment, _connectivity in counts}):
        for connectivity in Connectivity.values:
            yield dialect, environment, connectivity, counts.get((dialect, environment, connectivity), 0)


def active_session_counts() -> dict[str, int]:
    """Dialect to how many sessions are active. Cost: one read of a partial index and of the instances in it."""
    active = Session.objects.filter(status=Session.Status.ACTIVE).order_by()
    return dict(active.values_list("instance__dialect").annotate(session_count=Count("pk")))


def open_command_counts() -> dict[str, int]:
    """Status to how many commands are open in it, each open one named. Cost: one read of a partial index."""
    counted = Command.objects.filter(status__in=Command.OPEN).order_by()
    found = dict(counted.values_list("status").annotate(command_count=Count("pk")))
    return {status.value: found.get(status.value, 0) for status in Command.OPEN}


def command_totals() -> dict[str, int]:
    """Status to how many commands ever came to it, each status named."""
    found = dict(CommandTotals.objects.values_list("status", "count"))
    return {status.value: found.get(status.value, 0) for status in Command.Status}


def live_replicas(now: datetime) -> list[Replica]:
    """The processes that have not ended and were heard of within REPLICA_DEAD_AFTER_S, with what they published."""
    heard_since = now - timedelta(seconds=settings.REPLICA_DEAD_AFTER_S)
    return list(Replica.objects.filter(stopped_at=None, last_seen_at__gte=heard_since).order_by("kind", "id"))
