"""The console over a fleet with a past: every list and page of the admin, as a person who is logged in gets them.

Not among `all`, and over the same past as `lists`. `--agents` makes a smaller one of as many instances.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from bench.context import Bench
from bench.history import Size, fill
from bench.report import Row
from bench.rest import Answered, Call
from bench.scenarios.latency import took
from bench.scenarios.lists import newest_events, size_of
from bench.stats import milliseconds, percentile

TARGET_MS: Final = 200
SECONDS_PER_PATH: Final = 2.0
PAGES_FOLLOWED: Final = 20
# Every admin there is, as app and model; a test holds that none is missing.
LISTS: Final = (
    "access/apitoken", "access/failedlogin", "access/successfullogin", "agents/agenttoken", "agents/backgroundjob",
    "agents/command", "agents/event", "agents/fanout", "agents/group", "agents/instance", "agents/node",
    "agents/removal", "agents/replica", "agents/service", "agents/session", "auth/group", "auth/user",
    "django_celery_beat/clockedschedule", "django_celery_beat/crontabschedule", "django_celery_beat/intervalschedule",
    "django_celery_beat/periodictask", "django_celery_beat/solarschedule", "notifications/alert",
    "notifications/channel", "notifications/delivery", "notifications/rule", "notifications/silence", "tasks_app/task",
)  # fmt: skip
# Lists as people narrow, search and page them.
NARROWED: Final = (
    "agents/instance/?q=service-1", "agents/instance/?connectivity__exact=offline", "agents/instance/?p=40",
    "agents/instance/?selector=portal%2Fenvironment%3Dprod", "agents/command/?status__exact=failed",
    "agents/command/?q=nothing+of+that", "agents/command/?p=40", "agents/session/?status__exact=active",
    "agents/session/?q=host-1", "agents/session/?p=40", "tasks_app/task/?q=task-1",
)  # fmt: skip
# What the page of events is asked; its facets and bars are asked the same.
EVENTS: Final = (
    "since=15m", "since=1d", "since=7d", "since=30d", "since=all", "since=30d&level=error",
    "since=30d&kind=task.failed",
    "since=30d&q=refused", "since=30d&q=%22connection+refused%22", "since=30d&q=nothingofthat",
    "since=30d&environment=staging", "since=30d&dialect=argus", "since=30d&task_name=task-0",
    "since=30d&task_name=nobodys", "since=30d&actor=nobody",
)  # fmt: skip
PAGES: Final = (
    "", "live/", "inventory/", "inventory/?environment=prod", "inventory/capabilities/", "inventory/suspects/",
    "selectors/", "selectors/known/",
    "selectors/matches/?selector=portal%2Fenvironment%3Dprod", "selectors/matches/?selector=region%3Deu%2Ccores%3E8",
    "search/?s=service-1&extended=1", "search/?s=nothing&extended=1",
)  # fmt: skip
# One row of each, on a page of its own: the table, and what follows its id in the address.
_ROWS: Final = {
    "agents/service": ("agents_service", ("change/",)),
    "agents/instance": ("agents_instance", ("change/", "live/")),
    "agents/command": ("agents_command", ("change/", "live/")),
    "agents/session": ("agents_session", ("change/",)),
    "agents/event": ("agents_event", ("change/",)),
    "agents/node": ("agents_node", ("change/", "live/")),
    "tasks_app/task": ("tasks_app_task", ("change/",)),
}
_KEYS: Final = {"agents/node": "instance_id"}
_MAKE_SESSION: Final = """
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
browser = Client()
browser.force_login(User.objects.filter(is_superuser=True).first())
print(f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}")
"""
# The second tells a live part that nothing more will change.
_GOOD: Final = {200, 286}
_OLDER: Final = re.compile(rb'rel="next" href="([^"]+)"')


def console(bench: Bench) -> list[Row]:
    """Every list and page, one call after the other; the slowest and all of them, beside the raw limit of the run."""
    size = size_of(bench.options.agents)
    filled = fill(bench.servers.database_url, size)
    cookie = bench.portal.manage("shell", "-v", "0", "-c", _MAKE_SESSION).splitlines()[-1]
    times: dict[str, list[float]] = {}
    problems: list[str] = []
    for path in _paths(bench):
        answers = _ask(bench, path, cookie)
        problems += [f"{path}: HTTP {answer.status}" for answer in answers[:1] if answer.status not in _GOOD]
        times[path] = [took(answer) for answer in answers]
    deep = _deep(bench, cookie)
    times[f"/admin/agents/event/ (page {PAGES_FOLLOWED} by keyset)"] = [took(answer) for answer in deep]
    return _rows(bench, size, times, problems, filled)


def _rows(
    bench: Bench, size: Size, times: dict[str, list[float]], problems: Sequence[str], filled: dict[str, float]
) -> list[Row]:
    slowest = max(times, key=lambda path: percentile(times[path], 0.95))
    by_path = {path: milliseconds(took_s) for path, took_s in times.items()}
    over = sum(percentile(took_s, 0.95) * 1000 > TARGET_MS for took_s in times.values())
    return [
        Row(
            f"console over {size.instances:,} instances, {size.events:,} events: p95 of the slowest, {slowest}",
            "ms",
            percentile(times[slowest], 0.95) * 1000,
            "at most",
            TARGET_MS,
            newest_events(bench),
            "; ".join(problems),
            {
                "by_path": by_path,
                "slower_than_target": over,
                "fill_seconds": {name: round(took_s, 1) for name, took_s in filled.items()},
            },
        ),
        Row(
            "the same, p95 of all calls",
            "ms",
            percentile(list(itertools.chain.from_iterable(times.values())), 0.95) * 1000,
            "at most",
            TARGET_MS,
        ),
    ]


def _paths(bench: Bench) -> Iterator[str]:
    yield from (f"/admin/{page}" for page in PAGES)
    yield from (f"/admin/{name}/" for name in LISTS)
    yield from (f"/admin/{name}" for name in NARROWED)
    for query in EVENTS:
        yield f"/admin/agents/event/?{query}"
        yield f"/admin/events/facets/?{query}"
        yield f"/admin/events/chart/?{query}"
    yield "/admin/events/new/?since=30d&after=20260101T000000.0-0"
    for name, (table, pages) in _ROWS.items():
        key = _KEYS.get(name, "id")
        row = bench.database.connection.execute(f"SELECT {key} FROM {table} ORDER BY {key} LIMIT 1").fetchone()
        if row is not None:
            yield from (f"/admin/{name}/{quote(str(row[0]), safe='')}/{page}" for page in pages)


def _ask(bench: Bench, path: str, cookie: str, seconds: float = SECONDS_PER_PATH) -> list[Answered]:
    """In closed loop of one browser; the first answer, which fills caches, is left out where there are others."""
    calls = [Call("GET", path, cookie=cookie)]
    answers = bench.side.begin_rest(bench.portal.rest(0), calls, clients=1, seconds=bench.seconds(seconds)).results()[0]
    return answers[1:] or answers


def _deep(bench: Bench, cookie: str) -> list[Answered]:
    """The answers for the page of events that many links to older ones lead to."""
    path = "/admin/agents/event/?since=30d"
    for _ in range(PAGES_FOLLOWED - 1):
        [answer, *_rest] = _ask(bench, path, cookie, seconds=0.01)
        found = _OLDER.search(answer.body)
        if found is None:
            break
        path = found[1].decode().replace("&amp;", "&")
    return _ask(bench, path, cookie)
