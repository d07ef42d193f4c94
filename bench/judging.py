"""Nodes for the bench of the registry, and what judging all of them takes.

`python -m bench.judging fill COUNT` makes nodes that reported just now. `python -m bench.judging time` times the sweep
over all of them and the writing of nodes.json, and prints JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import django

from bench.stats import milliseconds

SWEEPS = 20
WRITES = 10
HEALTH: dict[str, dict[str, object]] = {
    "disk": {"status": "healthy", "used": 0.5},
    "net": {"status": "healthy"},
    "cpu": {"status": "healthy"},
}


def fill(count: int) -> None:
    """Replace all nodes by A1 to A<count>, all of them online."""
    from django.db import connection, transaction  # noqa: PLC0415 -- after the settings are known
    from django.utils import timezone  # noqa: PLC0415

    from agents.models import Instance, InstanceFacts, Node, NodeCounter, Service  # noqa: PLC0415

    now = timezone.now()
    with transaction.atomic():
        Service.objects.filter(name="bench-node").delete()
        service = Service.objects.create(name="bench-node", environment="dev")
        instances = Instance.objects.bulk_create(
            Instance(
                dialect="argus",
                external_id=f"A{number}",
                service=service,
                node_name=f"bench-{number}",
                connectivity="online",
                last_seen_at=now,
            )
            for number in range(1, count + 1)
        )
        Node.objects.bulk_create(
            Node(
                instance=instance,
                number=number,
                name=instance.node_name,
                type="bench-node",
                version="1.0.0",
                label=["bench", f"rack={number % 40}"],
                health=HEALTH,
                registered_at=now,
                updated_at=now,
            )
            for number, instance in enumerate(instances, start=1)
        )
        InstanceFacts.objects.bulk_create(
            InstanceFacts(instance=instance, facts=_facts(number), changed_at=now)
            for number, instance in enumerate(instances, start=1)
        )
        NodeCounter.objects.update_or_create(pk=1, defaults={"last": count})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE agents_instance, agents_node, agents_instancefacts")


def _facts(number: int) -> dict[str, object]:
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    texts = {
        "hostname": f"host-{number}.example",
        "ip": address,
        "env": "dev",
        "user": "bench",
        "instance": f"i-{number}",
    }
    return texts | {"cpu_number": 8, "memory_in_bytes": 34_359_738_368, "gpu_number": 0}


def measure() -> None:
    from django.conf import settings  # noqa: PLC0415 -- after the settings are known
    from django.db.models import F  # noqa: PLC0415

    from agents.models import Instance, Node  # noqa: PLC0415
    from agents.services.liveness import judge_nodes  # noqa: PLC0415
    from agents.services.nodes_file import write_nodes_file  # noqa: PLC0415

    nodes = Instance.objects.filter(dialect="argus")
    # The portal has just begun to see; with its own grace no verdict would fall yet.
    settings.ONLINE_THRESHOLD_SECONDS = 1
    idle = [_timed(judge_nodes) for _ in range(SWEEPS)]
    unchanged = [_timed(write_nodes_file) for _ in range(WRITES)]
    changed = []
    for number in range(WRITES):
        Node.objects.filter(number=1).update(label=[f"change-{number}"])
        changed.append(_timed(write_nodes_file))
    silent = timedelta(seconds=settings.OFFLINE_THRESHOLD_SECONDS + 60)
    nodes.update(last_seen_at=F("last_seen_at") - silent, created_at=F("created_at") - silent)
    all_silent_s = _timed(judge_nodes)
    left = nodes.exclude(connectivity="offline").count()
    print(
        json.dumps(
            {
                "sweep": milliseconds(idle),
                "all_silent_ms": round(all_silent_s * 1000, 1),
                "left": left,
                "file_unchanged": milliseconds(unchanged),
                "file_changed": milliseconds(changed),
            }
        )
    )


def _timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings"
    django.setup()
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        measure()
