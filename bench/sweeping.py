"""`python -m bench.sweeping COUNT`: fill the portal's database with open commands, time the sweep, print JSON."""

import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import django

from bench.stats import milliseconds

SWEEPS = 60
DUE = 50
CLOSED_WITHIN_S = 10
_FILL = """
    INSERT INTO agents_command
        (id, instance_id, kind, args, task_name, timeout_s, delivery_mode, deadline_at, status, ack_status, error_code,
         error_message, created_by_name, reason, source_surface, created_at, updated_at)
    SELECT gen_random_uuid(), %s, 'ping', '{}', '', 86400, 'queue_until_reconnect',
           now() + interval '1 hour' + number * interval '1 second',
           (ARRAY['pending', 'dispatched', 'accepted'])[1 + number %% 3], '', '', '', '', '', 'unknown', now(), now()
    FROM generate_series(1, %s) AS number
"""


def main(count: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings"
    django.setup()
    from django.db import connection  # noqa: PLC0415 -- after the settings are known
    from django.utils import timezone  # noqa: PLC0415

    from agents.models import Command, Instance, Service  # noqa: PLC0415
    from agents.services.deadlines import expire_due_commands  # noqa: PLC0415

    service = Service.objects.create(name="bench-sweep", environment="dev")
    instance = Instance.objects.create(
        dialect="onestep", external_id=str(uuid.uuid4()), service=service, node_name="sweep"
    )
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [instance.pk, count])
        cursor.execute("ANALYZE agents_command")
    idle = [_timed(expire_due_commands) for _ in range(SWEEPS)]
    due = list(Command.objects.filter(instance=instance).values_list("pk", flat=True)[: min(DUE, count)])
    past = timezone.now() - timedelta(hours=1)
    Command.objects.filter(pk__in=due).update(deadline_at=past)
    with_due_s = _timed(expire_due_commands)
    # What the worker was closing at the same moment was left to it.
    deadline = time.monotonic() + CLOSED_WITHIN_S
    while left := Command.objects.filter(pk__in=due, status__in=Command.OPEN).count():
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    service.delete()
    report = {"idle": milliseconds(idle), "due": len(due), "left": left, "with_due_ms": round(with_due_s * 1000, 2)}
    print(json.dumps(report))


def _timed(sweep: Callable[[], int]) -> float:
    """Seconds."""
    began = time.perf_counter()
    sweep()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]))
