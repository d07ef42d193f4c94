"""Processes, background jobs and ingest: whether everything runs that must."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Max
from django.utils.translation import gettext

from agents.models import Replica, Session
from agents.models.event import EventKind
from agents.selectors.events import notable_events
from agents.selectors.nodes_file import NodesFileState, nodes_file_state
from controlplane.console.formatting import duration
from controlplane.system.findings import Finding, named
from controlplane.system.jobs import Job
from controlplane.system.processes import Process

NEEDED = {"web": "python manage.py web", "worker": "python manage.py worker", "beat": "python manage.py beat"}
LAG_MAX_MS = 10_000
# What the dialect onestep of this version speaks; see agents.gateways.onestep.wire.
PROTOCOLS = ("1",)
NAMED = 3
REFUSALS_READ = 50
REFUSALS_COUNT_FOR = timedelta(days=1)


def check_working(now: datetime, processes: Sequence[Process], jobs: Iterable[Job]) -> Iterator[Finding]:
    """Four queries. Where nobody runs jobs, that is all that is said of those that did not run."""
    missing = list(_missing_parts(processes))
    yield from missing
    yield from _silent(processes)
    yield from _shared_wrongly(processes)
    yield from _ingest(processes)
    yield from _jobs(jobs, are_run={"no_worker", "no_beat"}.isdisjoint(each.code for each in missing))
    yield from _nodes_json(now)
    yield from _old_protocol(now)


def _missing_parts(processes: Sequence[Process]) -> Iterator[Finding]:
    seen = dict(Replica.objects.order_by().values_list("kind").annotate(seen=Max("last_seen_at")))
    running = {each.kind for each in processes if each.state == "running"}
    harm = {
        "web": gettext("Nobody reaches the console, and no agent is heard."),
        "worker": gettext("Commands do not expire, nobody is called offline, and history grows without end."),
        "beat": gettext("Nothing rings the bell for background jobs: none of them runs."),
    }
    for kind, command in NEEDED.items():
        if kind not in running:
            yield Finding(
                f"no_{kind}",
                "error",
                gettext("No process of the kind %s runs") % Replica.Kind(kind).label,
                harm[kind],
                gettext("Start one; `manage.py up` runs all three in one process."),
                command,
                seen.get(kind),
            )


def _silent(processes: Sequence[Process]) -> Iterator[Finding]:
    silent = [each for each in processes if each.state == "silent"]
    if silent:
        yield Finding(
            "process_silent",
            "warning",
            gettext("A process neither reports nor ended"),
            named([f"{each.kind} {each.host}:{each.pid}" for each in silent[:NAMED]], len(silent)),
            gettext("See whether it hangs or its host is gone, and end it; agents that it held come back elsewhere."),
            f"kill {silent[0].pid}",
            min(each.last_seen_at for each in silent),
        )


def _shared_wrongly(processes: Sequence[Process]) -> Iterator[Finding]:
    """What needs a server of its own as soon as there is a second process."""
    running = {(each.host, each.pid) for each in processes if each.state == "running"}
    if len(running) < 2:
        return
    since = sorted(each.started_at for each in processes if each.state == "running")[1]
    if connection.vendor == "sqlite":
        yield Finding(
            "sqlite_shared",
            "error",
            gettext("%d processes share one SQLite file") % len(running),
            gettext("They wait for each other at each write, and hints between them do not arrive."),
            gettext("Let one `manage.py up` do it all, or run on PostgreSQL and Redis."),
            "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME",
            since,
        )
    elif not settings.REDIS_URL:
        yield Finding(
            "no_redis",
            "warning",
            gettext("%d processes without Redis between them") % len(running),
            gettext("Commands wait for the next look (HINT_POLL_S), and jobs run only in the process that rang."),
            gettext("Give all of them one Redis."),
            "REDIS_URL=redis://HOST:6379/0",
            since,
        )


def _ingest(processes: Sequence[Process]) -> Iterator[Finding]:
    failing = [queue.failing_since for each in processes for queue in each.queues if queue.failing_since]
    if failing:
        yield Finding(
            "ingest_failing",
            "error",
            gettext("What agents report cannot be stored"),
            gettext("It waits in memory, and agents are read no more once that is full."),
            gettext("Look at the log of the web process (ingest.retry) and at the database: full, read-only, away?"),
            "",
            min(failing),
        )
        return
    slow = [each for each in processes if (each.oldest_ms or 0) > LAG_MAX_MS]
    if slow:
        yield Finding(
            "ingest_lags",
            "warning",
            gettext("What agents report is stored late"),
            gettext("The oldest record has waited for %s.") % duration(max(each.oldest_ms or 0 for each in slow)),
            gettext("Look at the latency of the database, or start one web process more."),
            "python manage.py web",
        )


def _jobs(jobs: Iterable[Job], *, are_run: bool) -> Iterator[Finding]:
    told = {"failing", "overdue", "never"} if are_run else {"failing"}
    for job in jobs:
        if not job.is_own or job.state not in told:
            continue
        if job.state == "failing":
            title, detail = gettext("The background job %s fails") % job.name, job.last_error
        else:
            title = gettext("The background job %s does not run") % job.name
            detail = gettext("It was to run every %s.") % job.schedule
        yield Finding(
            f"job_{job.state}",
            "error" if job.state == "failing" else "warning",
            title,
            detail,
            gettext("Look at the log of the worker; what the job left undone, its next run does.")
            if job.state == "failing"
            else gettext("See that a worker and a beat run and that Redis answers."),
            "",
            job.last_succeeded_at or job.last_started_at,
        )


def _nodes_json(now: datetime) -> Iterator[Finding]:
    state = nodes_file_state(now)
    if not state.ready:
        yield Finding(
            "nodes_json",
            "warning",
            gettext("nodes.json is not up to date"),
            _why_not(state),
            gettext("Make its folder writable for the user of the portal, or name another."),
            "METRIC_NODES_JSON_PATH",
            state.meta.get("failing_since") or state.meta.get("checked_at"),
        )


def _why_not(state: NodesFileState) -> str:
    """The same as the probes say, in the language of the reader."""
    if "failing_since" in state.meta:
        return gettext("It cannot be written: %s") % state.detail.partition(". ")[2]
    if state.meta:
        return gettext("No process looks after it.")
    return gettext("It has never been written.")


def _old_protocol(now: datetime) -> Iterator[Finding]:
    """Sessions of another protocol than this version's, which an older process let in, and agents that were refused."""
    old = Session.objects.filter(status=Session.Status.ACTIVE).exclude(protocol_version__in=PROTOCOLS)
    names = [
        f"{each.instance.node_name or each.instance.external_id} ({each.protocol_version})"
        for each in old.select_related("instance").order_by("connected_at")[: NAMED + 1]
    ]
    refused = _refused_for_protocol(now)
    if names or refused:
        yield Finding(
            "old_protocol",
            "warning",
            gettext("Agents speak a protocol that this version does not"),
            "; ".join(filter(None, [named(names[:NAMED], len(names)), refused[0] if refused else ""])),
            gettext("Update the agents; what they speak is in docs/protocols."),
            "pip install --upgrade onestep",
        )


def _refused_for_protocol(now: datetime) -> list[str]:
    """What the newest refusals say, of those that are about the version of the protocol."""
    newest = notable_events(kind=EventKind.AGENT_REFUSED, occurred_at__gte=now - REFUSALS_COUNT_FOR)
    messages = newest.values_list("message", "meta__peer_address")[:REFUSALS_READ]
    return [f"{message} ({peer})" for message, peer in messages if message.startswith("Protocol version")]
