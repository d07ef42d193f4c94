"""What the page of a command tells: its way, each move with who made it, the same as curl, and the same before."""

import json
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from agents.models import Command, Event, Session
from agents.models.event import EventKind
from agents.selectors.events import events_so_far
from agents.selectors.waiting import why_waiting
from agents.words import wait_words
from controlplane.console.formatting import admin_url

MOVES_SHOWN = 50
SAME_SHOWN = 10
# Of the newest commands of the instance, so many are looked through for the same one.
SAME_LOOK = 500
# Beyond this a shell may refuse the line, and nobody would read it.
CURL_MAX_CHARS = 20_000
# What a query string takes on the way to the form.
AGAIN_MAX_CHARS = 2000
# So long somebody is looking whether it comes at once.
FRESH_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Step:
    """One stop on the way of a command. `state` is `done`, `now`, `todo` or `bad`."""

    title: str
    state: str
    at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """One transition as its event tells it; `session` is the one that it was sent on, `attempt` which time that was."""

    event: Event
    session: Session | None = None
    attempt: int = 0


def steps(command: Command) -> list[Step]:
    """The way of a command: queued, sent, accepted, finished; each done, under way, to come, or gone wrong."""
    status = Command.Status(command.status)
    session = f"sess_{command.session_id.hex[:8]}…" if command.session_id else ""
    ended = not command.is_open
    bad_end = ended and status not in {Command.Status.SUCCEEDED, Command.Status.CANCELLED}
    refused = command.ack_status == Command.AckStatus.REJECTED
    return [
        Step(gettext("Queued"), "done", command.created_at, command.created_by_name),
        Step(
            gettext("Sent"),
            "done" if command.dispatched_at else "todo" if ended else "now",
            command.dispatched_at,
            session,
        ),
        Step(
            gettext("Refused by the instance") if refused else gettext("Accepted"),
            "bad"
            if refused
            else "done"
            if command.acked_at
            else "now"
            if command.dispatched_at and not ended
            else "todo",
            command.acked_at,
        ),
        Step(
            str(status.label) if ended else gettext("Finished"),
            "bad" if bad_end else "done" if ended else "now" if status == Command.Status.ACCEPTED else "todo",
            command.finished_at,
        ),
    ]


def moves(command: Command) -> list[Move]:
    """The transitions, oldest first, of the newest MOVES_SHOWN. Two queries."""
    # The bounds spare looks into partitions of other times.
    rows = events_so_far().filter(command_id=command.pk, occurred_at__gte=command.created_at - timedelta(days=1))
    events = list(rows.defer("traceback").order_by("-occurred_at", "-id")[:MOVES_SHOWN])[::-1]
    ids = {event.pk: session_id for event in events if (session_id := _session_id(event.meta)) is not None}
    narrow = Session.objects.select_related("replica").defer("capabilities", "accepted_capabilities")
    sessions = narrow.in_bulk(set(ids.values())) if ids else {}
    attempt = 0
    found = []
    for event in events:
        is_sending = event.kind == EventKind.COMMAND_DISPATCHED
        attempt += is_sending
        session = sessions.get(ids[event.pk]) if event.pk in ids else None
        found.append(Move(event, session, attempt if is_sending else 0))
    return found


def _session_id(meta: Any) -> UUID | None:
    text = meta.get("session_id") if isinstance(meta, dict) else None
    try:
        return UUID(hex=str(text).removeprefix("sess_")) if text else None
    except ValueError:
        return None


def the_same_before(command: Command) -> QuerySet[Command]:
    """Other commands of this kind, and of this task where it has one, on this instance; newest first.

    Of the newest SAME_LOOK of the instance, so that it costs the same however many there were.
    """
    newest = Command.objects.filter(instance=command.instance_id).order_by("-created_at", "-id").values("pk")
    return (
        Command.objects.filter(pk__in=newest[:SAME_LOOK], kind=command.kind, task_name=command.task_name)
        .exclude(pk=command.pk)
        .defer("args", "result")
        .order_by("-created_at", "-id")[:SAME_SHOWN]
    )


def curl_of(command: Command, *, portal_url: str) -> str:
    """A command line that orders the same through the API, to be pasted into a POSIX shell where TOKEN is set.

    Empty where its arguments are too long for one.
    """
    body: dict[str, object] = {"kind": command.kind, "timeout_s": command.timeout_s}
    if command.args:
        body["args"] = command.args
    if command.delivery_mode != Command.DeliveryMode.NOW_ONLY:
        body["delivery_mode"] = command.delivery_mode
    if command.reason:
        body["reason"] = command.reason
    text = " \\\n  ".join(
        [
            f"curl -X POST {shlex.quote(f'{portal_url}/api/v1/instances/{command.instance_id}/commands')}",
            '-H "Authorization: Bearer $TOKEN"',
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ]
    )
    return text if len(text) <= CURL_MAX_CHARS else ""


def again_url(command: Command) -> str:
    """The panel of the instance with this very order filled in; without a payload that is too long for an address."""
    args: dict[str, Any] = command.args if isinstance(command.args, dict) else {}
    payload = json.dumps(args["payload"], ensure_ascii=False) if args.get("payload") else ""
    query = {
        "kind": command.kind,
        "task_name": command.task_name,
        "limit": args.get("limit"),
        "payload": payload if len(payload) <= AGAIN_MAX_CHARS else "",
        "reason": command.reason,
        "timeout_s": command.timeout_s,
    }
    return f"{admin_url('agents_instance_change', command.instance_id, **query)}#send"


def sent_context(command: Command) -> dict[str, Any]:
    """What the panel tells of the command that was ordered there, which comes with its instance."""
    now = timezone.now()
    return {
        "why": wait_words(why_waiting(command, now=now)),
        "is_fresh": now - command.created_at < FRESH_FOR,
    }
