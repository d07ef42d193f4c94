"""What tests of the outbox share: a provider that says what it is told to, tellings, and looks at the rows."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from notifications.engine.facts import Fact
from notifications.engine.telling import Telling
from notifications.models import Attempt, Delivery
from notifications.providers.base import Verdict
from notifications.selectors.deliveries import Lane
from notifications.services.claims import claim
from notifications.services.outbox import enqueue
from notifications.services.outcomes import record
from notifications.services.sending import send

# Times of tests that say theirs; the clocks of the databases are not asked then.
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
GOOD = Verdict(ok=True, status_code=200, provider_code="0", response='{"code": 0}')
BAD = Verdict(ok=False, status_code=500, response="no", error="HTTP 500")
SILENT = Verdict(ok=False, error="timed out")
REFUSED = Verdict(ok=False, status_code=200, provider_code="19021", error="sign match fail", is_permanent=True)


def later(seconds):
    return AT + timedelta(seconds=seconds)


class Far:
    """A provider: says `verdict`, or what that returns for a target and a card, and keeps what it was sent."""

    def __init__(self):
        self.verdict = GOOD
        self.sent = []

    @property
    def titles(self):
        return [each.card.title for each in self.sent]

    def check(self, target):
        pass

    def mask(self, address):
        return f"...{address[-4:]}"

    def send(self, target, card, *, delivery_id, timeout_s):
        self.sent.append(SimpleNamespace(target=target, card=card, delivery_id=delivery_id))
        return self.verdict(target, card) if callable(self.verdict) else self.verdict

    def preview(self, target, card):
        return card.title


@pytest.fixture
def far(monkeypatch):
    one = Far()
    for module in ("sending", "channels"):
        monkeypatch.setattr(f"notifications.services.{module}.provider_of", lambda name: one)
    return one


def fact(**changes):
    fields = {
        "event_id": "e1",
        "event_type": "task_failed",
        "occurred_at": AT,
        "received_at": AT,
        "service_name": "shop",
        "environment": "prod",
        "task_name": "sync",
        "message": "refused",
    }
    return Fact(**fields | changes)


def telling(**changes):
    """Of one failed task."""
    facts = changes.pop("facts", None) or (fact(),)
    fields = {"kind": "alert", "event_type": "task_failed", "facts": facts, "since": AT, "rule_name": "on call"}
    return Telling(**fields | changes)


def told(channel, count=1, *, now=AT, prefix="k", **changes):
    """Deliveries to a channel, of tasks t0, t1, … unless `changes` say otherwise."""
    made = []
    for number in range(count):
        of = {"facts": (fact(task_name=f"t{number}"),)} | changes
        made += enqueue([channel], telling(**of), rule=None, alert=None, dedupe_key=f"{prefix}{number}", now=now)
    return made


def go(lane, *, now=AT, times=1000):
    """Send what a lane lets go at that time; how many attempts that were."""
    done = 0
    while done < times and (claimed := claim(lane, now=now)) is not None:
        record(claimed, send(claimed.delivery), now=now)
        done += 1
    return done


def lane_of(channel):
    return Lane(channel.pk)


def statuses(**of):
    """How many deliveries have which status."""
    found = {}
    for status in Delivery.objects.filter(**of).values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def started(channel):
    """When attempts at a channel were begun, in milliseconds after AT."""
    begun = Attempt.objects.filter(channel=channel).order_by("started_at").values_list("started_at", flat=True)
    return [round((at - AT) / timedelta(milliseconds=1)) for at in begun]
