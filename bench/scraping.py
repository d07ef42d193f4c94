"""`python -m bench.scraping INSTANCES TASKS`: fill the portal's database with totals, time scrapes, print JSON."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import django
import psutil

from bench.stats import milliseconds

SCRAPES = 5
SERVICES = 200
# How often the memory of this process is looked at while it scrapes.
_LOOK_EVERY_S = 0.01
_FILL_INSTANCES = """
    INSERT INTO agents_instance
        (id, dialect, external_id, service_id, node_name, hostname, deployment_version, agent_version, python_version,
         connectivity, health, last_seen_at, last_topology_hash, created_at, updated_at)
    SELECT gen_random_uuid(), 'onestep', 'bench-' || number, (%s::bigint[])[1 + number %% %s], 'node', 'host', '1',
           '1', '3', 'online', 'ok', now(), '', now(), now()
    FROM generate_series(1, %s) AS number
"""
_FILL_TOTALS = """
    INSERT INTO tasks_app_tasktotals
        (instance_id, task_name, fetched, started, succeeded, retried, failed, dead_lettered, cancelled, timeouts,
         window_started_at, window_ended_at, inflight, avg_duration_ms, p95_duration_ms)
    SELECT instance.id, 'task-' || number, 9, 9, random() * 1e6::int, 0, 1, 0, 0, 0, now(), now(), 2, random() * 100, 1
    FROM agents_instance instance, generate_series(1, %s) AS number WHERE instance.service_id = ANY(%s)
"""
_OF_BENCH = "(SELECT id FROM agents_instance WHERE service_id = ANY(%s))"
_EMPTY = (
    f"DELETE FROM tasks_app_tasktotals WHERE instance_id IN {_OF_BENCH}",
    f"DELETE FROM agents_instance WHERE id IN {_OF_BENCH}",
    "DELETE FROM agents_service WHERE id = ANY(%s)",
)

T = TypeVar("T")


def main(instance_count: int, task_count: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings"
    django.setup()
    from django.db import connection  # noqa: PLC0415 -- after the settings are known

    from agents.models import Service  # noqa: PLC0415
    from controlplane.prometheus.views import made  # noqa: PLC0415

    services = [Service.objects.create(name=f"bench-{number}", environment="prod") for number in range(SERVICES)]
    ids = [service.pk for service in services]
    with connection.cursor() as cursor:
        cursor.execute(_FILL_INSTANCES, [ids, SERVICES, instance_count])
        cursor.execute(_FILL_TOTALS, [task_count, ids])
        cursor.execute("ANALYZE agents_instance, tasks_app_tasktotals")
    taken = [_measured(lambda: made(None)) for _ in range(SCRAPES)]
    exposition = made(None)
    report = {
        "times": milliseconds([seconds for seconds, _cpu_s, _mib in taken]),
        "cpu_s": round(min(cpu_s for _seconds, cpu_s, _mib in taken), 2),
        "peak_mib": round(max(mib for _seconds, _cpu_s, mib in taken), 1),
        "compressed_mib": round(len(exposition.compressed) / 2**20, 1),
        "plain_mib": round(sum(map(len, exposition.pieces())) / 2**20, 1),
    }
    with connection.cursor() as cursor:
        for statement in _EMPTY:
            cursor.execute(statement, [ids])
    print(json.dumps(report))


def _measured(work: Callable[[], T]) -> tuple[float, float, float]:
    """Seconds, seconds of this process, and MiB that it grew by meanwhile at the most."""
    process, ended = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not ended.wait(_LOOK_EVERY_S):
            peak = max(peak, process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    ended.set()
    looking.join()
    return seconds, cpu_s, (peak - before) / 2**20


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
