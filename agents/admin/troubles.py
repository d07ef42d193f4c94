"""What is wrong now, in words: each cause a line with its state, since when, who, and where that is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from agents.admin.columns import kind_label
from agents.badges import HEALTH_MEANS
from agents.models import BackgroundJob, Command, NodesFile, Replica
from agents.models.instance import Health
from agents.selectors import overview
from agents.selectors.census import Census, Group, census
from agents.selectors.covers import Cover, covers
from agents.selectors.jobs import JobState, unwell_jobs
from agents.selectors.lag import Lag, failing_nodes_file, lagging, running_replicas
from agents.selectors.orders_in_trouble import Orders, failed_orders, stuck_orders
from agents.selectors.since import conflicts_since, drifted_since
from agents.selectors.underway import UnderWay, under_way
from controlplane.console.formatting import admin_url, badge, duration
from notifications.models import Channel
from notifications.selectors.overview import GoingOn, told_now
from tasks_app.models import Task

SHOWN: Final = overview.TROUBLES_SHOWN
# The events that the failures are counted of, for overview.RECENT.
FAILED_LATELY: Final[dict[str, str]] = {"kind": "task.failed", "since": "15m"}
NOT_DELIVERING: Final[tuple[str, dict[str, str]]] = ("notifications_channel", {"state": "failing"})


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is wrong; `url` shows exactly its rows, `act_url` what to do next."""

    badge: SafeString
    text: str
    url: str
    where: str = ""
    since: datetime | None = None
    last: datetime | None = None
    act: str = ""
    act_url: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Lines of one sort; `more` further ones are at `more_url`."""

    title: str
    lines: list[Line]
    more: int = 0
    more_url: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database says at one moment; in no language, and the same for everybody."""

    census: Census
    conflicts_since: datetime | None
    covers: Mapping[int, Cover]
    failing: list[overview.FailingTask]
    task_pages: Mapping[tuple[int, str], int]
    stuck: list[Orders]
    failed: list[Orders]
    open_commands: int
    jobs: list[tuple[BackgroundJob, JobState]]
    silent: list[Replica]
    lags: list[Lag]
    nodes_file: NodesFile | None
    underway: UnderWay
    told: GoingOn
    events: Mapping[bool, list[Any]] = field(default_factory=dict)


def take(now: datetime) -> Snapshot:
    """Read everything once: a score of queries, whatever the size of the fleet."""
    counted = census(now)
    drifted = drifted_since([group.service_id for group in counted.drifted[:SHOWN]])
    for group in counted.drifted[:SHOWN]:
        group.since = drifted.get(group.service_id)
    running = running_replicas()
    failing = overview.failing_tasks(now=now)
    return Snapshot(
        census=counted,
        conflicts_since=conflicts_since(now) if counted.conflicts else None,
        covers=covers([group.service_id for group in counted.offline[:SHOWN]], now=now),
        failing=failing,
        task_pages=_task_pages(failing[:SHOWN]),
        stuck=stuck_orders(now=now),
        failed=failed_orders(now=now),
        open_commands=overview.open_commands().count(),
        jobs=unwell_jobs(now=now),
        silent=[row for row in running if overview.process_state(row, now=now) == "silent"],
        lags=lagging([row for row in running if overview.process_state(row, now=now) == "running"]),
        nodes_file=failing_nodes_file(),
        underway=under_way(now),
        told=told_now(),
        events={known: list(overview.recent_events(administrator=known)) for known in (False, True)},
    )


def causes(taken: Snapshot) -> list[Cause]:
    """What is wrong, the worst first: while the portal itself lags, the rest may not be true."""
    found = [
        Cause(gettext("The portal itself"), list(_portal(taken))),
        _bounded(gettext("Channels that do not deliver"), taken.told.failing, None, _channel, NOT_DELIVERING),
        Cause(gettext("Identity conflicts"), list(_conflicts(taken))),
        _bounded(
            gettext("Offline"), taken.census.offline, taken.covers, _offline, ("instance", {"trouble": "offline"})
        ),
        _bounded(gettext("Failing tasks"), taken.failing, taken.task_pages, _failing, ("event", FAILED_LATELY)),
        _bounded(gettext("Unwell"), taken.census.unwell, None, _unwell, ("instance", {"trouble": "unwell"})),
        _bounded(gettext("Commands that went wrong"), taken.failed, None, _failed, ("command", {"trouble": "failed"})),
        _bounded(gettext("Commands that wait"), taken.stuck, None, _stuck, ("command", {"trouble": "stuck"})),
        _bounded(gettext("Topologies that differ"), taken.census.drifted, None, _drifted, ("service", {})),
    ]
    return [cause for cause in found if cause.lines]


def _bounded(title: str, rows: list[Any], more: Any, line: Any, rest: tuple[str, dict[str, str]]) -> Cause:
    lines = [line(row) if more is None else line(row, more) for row in rows[:SHOWN]]
    hidden = max(0, len(rows) - SHOWN)
    name, query = rest
    view = name if "_" in name else f"agents_{name}"
    return Cause(title, lines, hidden, admin_url(f"{view}_changelist", **query) if hidden else "")


def _channel(channel: Channel) -> Line:
    return Line(
        badge("channel", "failing"),
        channel.name,
        admin_url("notifications_channel_change", channel.pk),
        where=" · ".join(part for part in (channel.get_provider_display(), channel.last_error[:100]) if part),
        since=channel.failing_since,
        act=gettext("Deliveries"),
        act_url=admin_url("notifications_delivery_changelist", channel=channel.pk, status__exact="failed"),
    )


def _portal(taken: Snapshot) -> Iterable[Line]:
    for lag in taken.lags[:SHOWN]:
        words = {"queue": lag.queue, "n": lag.waiting, "age": duration(lag.oldest_ms)}
        text = (
            gettext("What agents report cannot be stored; %(n)d records wait in %(queue)s")
            if lag.failing_since
            else gettext("%(n)d records wait in %(queue)s, the oldest for %(age)s")
        )
        yield Line(
            badge("level", "error", gettext("Behind")),
            text % words,
            admin_url("agents_replica_change", lag.replica.pk),
            where=str(lag.replica),
            since=lag.failing_since,
        )
    for replica in taken.silent[:SHOWN]:
        url = admin_url("agents_replica_change", replica.pk)
        yield Line(badge("process", "silent"), str(replica), url, gettext("portal process"), replica.last_seen_at)
    for job, state in taken.jobs:
        url = admin_url("agents_backgroundjob_change", job.pk)
        yield Line(badge("job", state), job.name, url, gettext("background job"), job.last_succeeded_at)
    if taken.nodes_file is not None:
        yield Line(
            badge("level", "error", gettext("nodes.json not written")),
            taken.nodes_file.error or taken.nodes_file.path,
            admin_url("agents_event_changelist", kind__exact="nodes_file.failed"),
            since=taken.nodes_file.failing_since,
        )


def _conflicts(taken: Snapshot) -> Iterable[Line]:
    count = taken.census.conflicts
    if count:
        text = ngettext(
            "%d identity is claimed by two processes", "%d identities are claimed by two processes each", count
        )
        yield Line(
            badge("conflict", "now"),
            text % count,
            admin_url("agents_instance_changelist", trouble="conflict"),
            since=taken.conflicts_since,
            last=taken.census.conflict_at,
        )


def _where(group: Group) -> str:
    return f"{group.environment}/{group.name}"


def _offline(group: Group, found: Mapping[int, Cover]) -> Line:
    cover = found.get(group.service_id)
    text, where = _where(group), _covered(cover)
    url = admin_url("agents_instance_changelist", service__id__exact=group.service_id, trouble="offline")
    if cover is not None and cover.kind == "instance":
        # What is followed is what is read: the instance, beside its service.
        url, text, where = admin_url("agents_instance_change", cover.key), cover.value, text
    numbers = {"n": group.count, "all": group.among}
    return Line(
        badge("connectivity", "offline", gettext("%(n)d of %(all)d offline") % numbers),
        text,
        url,
        where=where,
        since=group.since,
        last=group.until if group.until != group.since else None,
        act=gettext("Service"),
        act_url=admin_url("agents_service_change", group.service_id),
    )


def _covered(cover: Cover | None) -> str:
    if cover is None:
        return ""
    shapes = {
        "instance": "%s",
        "host": gettext("all on host %s"),
        "replica": gettext("all held by %s"),
        "version": gettext("all of version %s"),
        "label": gettext("all with label %s"),
    }
    return shapes[cover.kind] % cover.value


def _unwell(group: Group) -> Line:
    numbers = {"n": group.count, "all": group.among}
    url = admin_url("agents_instance_changelist", service__id__exact=group.service_id, trouble="unwell")
    title = HEALTH_MEANS[Health.DEGRADED]
    told = badge("health", "degraded", gettext("%(n)d of %(all)d unwell") % numbers, title=title)
    return Line(
        told,
        _where(group),
        url,
        since=group.since,
        act=gettext("Service"),
        act_url=admin_url("agents_service_change", group.service_id),
    )


def _drifted(group: Group) -> Line:
    url = admin_url("agents_instance_changelist", service__id__exact=group.service_id, trouble="topology")
    words = gettext("its %d online instances run different topologies") % group.count
    return Line(
        badge("level", "warn", gettext("Drift")),
        _where(group),
        url,
        where=words,
        since=group.since,
        act=gettext("Compare"),
        act_url=admin_url("agents_service_change", group.service_id),
    )


def _task_pages(failing: list[overview.FailingTask]) -> dict[tuple[int, str], int]:
    """The key of each of these tasks, by service and name. One query at most."""
    if not failing:
        return {}
    rows = Task.objects.filter(
        service__in={task.service_id for task in failing}, name__in={task.task_name for task in failing}
    )
    return {(service_id, name): pk for service_id, name, pk in rows.values_list("service_id", "name", "pk")}


def _failing(task: overview.FailingTask, pages: Mapping[tuple[int, str], int]) -> Line:
    told = ngettext("%d failure", "%d failures", task.failed) % task.failed
    notes = [f"{task.environment}/{task.service_name}", task.exception_type]
    if task.dead_lettered:
        notes.append(gettext("%d dead-lettered in 15 min") % task.dead_lettered)
    # A task that no topology tells of any more has events, and no page.
    page = pages.get((task.service_id, task.task_name))
    query = {"service__id__exact": task.service_id, "task_name": task.task_name, **FAILED_LATELY}
    return Line(
        badge("level", "error", told),
        task.task_name,
        admin_url("agents_event_changelist", **query),
        where=" · ".join(note for note in notes if note),
        since=task.first_at,
        last=task.last_at if task.last_at != task.first_at else None,
        act=gettext("Task") if page else "",
        act_url=admin_url("tasks_app_task_change", page) if page else "",
    )


def _orders(orders: Orders, trouble: str, note: str) -> Line:
    query = {"instance__service__id__exact": orders.service_id, "kind": orders.kind, "status__exact": orders.status}
    status = str(Command.Status(orders.status).label)
    return Line(
        badge("command", orders.status, f"{orders.count} × {status}"),
        kind_label(orders.kind),
        admin_url("agents_command_changelist", trouble=trouble, **query),
        where=" · ".join(part for part in (orders.service, note) if part),
        since=orders.since,
        last=orders.until if orders.until != orders.since else None,
    )


def _failed(orders: Orders) -> Line:
    return _orders(orders, "failed", orders.error_code)


def _stuck(orders: Orders) -> Line:
    return _orders(orders, "stuck", why_waiting(orders))


def why_waiting(orders: Orders) -> str:
    if orders.status == Command.Status.ACCEPTED:
        return gettext("the instance accepted it and has no result yet")
    if not orders.connected:
        return gettext("the instance is not connected")
    if orders.status == Command.Status.DISPATCHED:
        return gettext("it was sent; the instance has not answered")
    return gettext("the instance is connected, yet it was not sent: look at the portal's processes")
