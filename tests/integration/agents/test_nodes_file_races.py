"""nodes.json with several writers, each a process of its own, and one that is killed between two steps."""

import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
from django.db import connection, transaction

from agents.models import Node
from agents.services.nodes_file import Outcome, write_nodes_file
from tests.e2e.harness.process import REPOSITORY
from tests.integration.agents.listed import make_node

WRITERS = 3
CHANGES_FOR_S = 3.0
START_WITHIN_S = 60

# Says that it is there, then writes until its input ends. The file is always another one: each change is a new list.
WRITE_ON = """
import select, sys
import django
django.setup()
from django.db import close_old_connections
from agents.services.nodes_file import write_nodes_file
print("there", flush=True)
outcomes = {}
while not select.select([sys.stdin], [], [], 0)[0]:
    outcome = write_nodes_file()
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
print(outcomes.get("written", 0), outcomes.get("failed", 0), flush=True)
"""
# Killed by the kernel in the step between the temporary file and the rename.
DIE_BEFORE_RENAME = """
import os, signal
import django
django.setup()
from agents.services import nodes_file
nodes_file.publish_file = lambda staged, path: os.kill(os.getpid(), signal.SIGKILL)
nodes_file.write_nodes_file()
"""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def path(settings, tmp_path):
    settings.METRIC_NODES_JSON_PATH = tmp_path / "nodes.json"
    return settings.METRIC_NODES_JSON_PATH


def start(program, path):
    """A process of the portal on the database of this test."""
    named = connection.settings_dict
    place = f"{named['USER']}:{quote(named['PASSWORD'])}@{named['HOST']}:{named['PORT']}"
    postgres = connection.vendor == "postgresql"
    url = f"postgres://{place}/{named['NAME']}" if postgres else f"sqlite:///{named['NAME']}"
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        "DATABASE_URL": url,
        "DATA_DIR": str(path.parent / "data"),
        "METRIC_NODES_JSON_PATH": str(path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.needs_postgres
def test_readers_see_whole_files_and_never_an_older_one_after_a_newer(path):
    """Enough nodes that a file takes a while; each change marks all of them with a greater number."""
    for number in range(1, 200):
        make_node(number, facts={"ip": "10.0.0.1", "hostname": "h" * 200})
    write_nodes_file()
    writers = [start(WRITE_ON, path) for _ in range(WRITERS)]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "there\n"
        reads, seen, changes = 0, 0, 0
        ends_at = time.monotonic() + CHANGES_FOR_S
        while time.monotonic() < ends_at:
            changes += 1
            with transaction.atomic():
                Node.objects.update(label=[str(changes)])
            for _ in range(20):
                labels = {tuple(node["labels"]) for node in json.loads(path.read_bytes())}
                assert len(labels) == 1
                now_seen = int(next(iter(labels.pop()), 0))
                assert now_seen >= seen
                seen, reads = now_seen, reads + 1
        done = [writer.communicate("\n", timeout=START_WITHIN_S)[0].split() for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()

    assert all(writer.returncode == 0 for writer in writers)
    assert all(int(failed) == 0 for _written, failed in done)
    assert sum(int(written) > 0 for written, _failed in done) >= 2
    # The last change is in the file, by whomever.
    assert {tuple(node["labels"]) for node in json.loads(path.read_bytes())} == {(str(changes),)}
    assert reads > seen > 5
    assert list(path.parent.glob(".*.tmp")) == []


def test_writer_killed_before_the_rename_leaves_the_old_file_whole(path):
    make_node(1)
    write_nodes_file()
    old = path.read_bytes()
    make_node(2)

    killed = start(DIE_BEFORE_RENAME, path)
    killed.communicate(timeout=START_WITHIN_S)

    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == old
    (leftover,) = path.parent.glob(".nodes.json.*.tmp")
    assert len(json.loads(leftover.read_bytes())) == 2

    assert write_nodes_file() is Outcome.WRITTEN
    assert len(json.loads(path.read_bytes())) == 2
    assert not leftover.exists()
