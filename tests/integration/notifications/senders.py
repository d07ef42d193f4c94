"""Processes that send, each started as a process of its own on the database of the test.

    python -m tests.integration.notifications.senders look on         send whatever is due
    python -m tests.integration.notifications.senders die STAGE       take one delivery, and be killed at that stage
    python -m tests.integration.notifications.senders storm KILLS     let so many children die, one after the other

Their provider posts the id and the title of a card, whatever the real ones do.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from urllib.parse import quote

import django
from django.conf import settings
from django.db import connection
from django.utils import timezone

from tests.e2e.harness.process import REPOSITORY

if __name__ == "__main__":
    django.setup()

from notifications.providers.base import Verdict
from notifications.selectors.deliveries import due_lanes
from notifications.services import claims, outcomes, sending

# Between which steps somebody may be killed.
STAGES = ("claimed", "sent", "marking")


def start(*arguments, **environment):
    """A process of the portal on the database of this test, with its keys."""
    named = connection.settings_dict
    place = f"{named['USER']}:{quote(named['PASSWORD'])}@{named['HOST']}:{named['PORT']}"
    is_postgres = connection.vendor == "postgresql"
    variables = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        "DATABASE_URL": f"postgres://{place}/{named['NAME']}" if is_postgres else f"sqlite:///{named['NAME']}",
        "DATA_DIR": str(settings.DATA_DIR),
        "SECRET_KEY": settings.SECRET_KEY,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.notifications.senders", *map(str, arguments)],
        cwd=REPOSITORY,
        env=variables | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class Hook:
    def send(self, target, card, *, delivery_id, timeout_s):
        body = json.dumps({"id": delivery_id, "title": card.title}).encode()
        request = urllib.request.Request(target.address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return Verdict(ok=json.load(answer)["code"] == 0, status_code=answer.status)


def kill_me():
    os.kill(os.getpid(), signal.SIGKILL)


def look():
    """Says that it is there, begins when somebody writes a line to it, and goes on until they have no more to say."""
    sender = sending.Sender()
    print("there", flush=True)
    sys.stdin.readline()
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        sender.look()
    print(sender.end(60), flush=True)


def try_one(lane, now, stage=""):
    """Take one delivery, send it and mark it; whether there was one. With a stage, it does not survive that."""
    claimed = claims.claim(lane, now=now)
    if claimed is None:
        return False
    if stage == "claimed":
        kill_me()
    verdict = sending.send(claimed.delivery)
    if stage == "sent":
        kill_me()
    if stage == "marking":
        # In the middle of the transaction, behind what it wrote to the delivery.
        outcomes.count_ended = lambda *_what: kill_me()
    outcomes.record(claimed, verdict, now=now)
    return True


def storm(kills):
    """Prints how many were killed at each stage. Each begins when the claim of the one before it has run out; one in
    four survives. This process itself never asks the database, whose connections no child could share."""
    chance = random.Random(7)
    now, died = timezone.now(), dict.fromkeys(STAGES, 0)
    while sum(died.values()) < kills:
        now += timedelta(seconds=claims.claim_seconds())
        stage = chance.choice((*STAGES, ""))
        status = in_child(lambda now=now, stage=stage: try_any(now, stage))
        if os.WIFSIGNALED(status):
            died[stage] += 1
        elif os.WEXITSTATUS(status) != 0:
            sys.exit("Nothing is left to die at.")
    now += timedelta(seconds=claims.claim_seconds())
    in_child(lambda: finish(now))
    print(json.dumps(died), flush=True)


def in_child(work):
    """How it ended; 0 where it was True."""
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 3)
    return os.waitpid(child, 0)[1]


def finish(now):
    while try_any(now):
        now += timedelta(milliseconds=1)
    return True


def try_any(now, stage=""):
    lanes = due_lanes(now)
    random.shuffle(lanes)
    return any(try_one(lane, now, stage) for lane in lanes)


def main(what, argument):
    sending.provider_of = lambda _name: Hook()
    if what == "look":
        look()
    elif what == "storm":
        storm(int(argument))
    else:
        try_any(timezone.now(), argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
