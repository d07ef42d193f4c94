"""Sending: a thread for each channel that has something due, and only so many at once.

A channel that hangs holds up its own thread alone. What finds no thread stays in the outbox, and is looked for again
when one ends and each second. Any number of processes may do this at once: see `services.claims`.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_noop

from controlplane.common.database import database_now
from controlplane.common.errors import ControlPlaneError
from notifications.models import Delivery
from notifications.providers.base import Target, Verdict
from notifications.providers.registry import provider_of
from notifications.secrets import UNREADABLE, SecretUnreadable
from notifications.selectors.deliveries import Lane, due_lanes
from notifications.selectors.targets import target_of, thawed_route
from notifications.services.bell import bell, ring
from notifications.services.claims import Claim, claim
from notifications.services.ledger import card_in
from notifications.services.outcomes import record

logger = logging.getLogger(__name__)

SEND_JOB: Final = "send-deliveries"
BROKEN: Final = gettext_noop("The portal could not make the message; its log says why.")
NOWHERE: Final = gettext_noop("Its channel was deleted, and nobody knows where it goes.")
# How many threads read and write the outbox at once; the others wait for their providers.
DESKS: Final = 4
# How long a worker that ends waits for messages that are under way; what takes longer is sent again by another one.
DRAIN_S: Final = 3.0
WITHHELD: Final = "…"
# Shorter parts of an address are words like `send` and `v2`.
_SECRET_MIN_CHARS: Final = 8


def send(delivery: Delivery) -> Verdict:
    """One attempt. Never raises: what breaks on the way is a verdict as well. Its texts hold no secret."""
    target: Target | None = None
    try:
        target = _target(delivery)
        verdict = provider_of(target.provider).send(
            target, card_in(delivery), delivery_id=str(delivery.pk), timeout_s=settings.NOTIFY_TIMEOUT_S
        )
    except ChannelGone:
        return Verdict(ok=False, error=NOWHERE, is_permanent=True)
    except SecretUnreadable:
        return Verdict(ok=False, error=UNREADABLE)
    except Exception:
        # A bad message costs only itself.
        logger.exception("delivery.broken id=%s", delivery.pk)
        return Verdict(ok=False, error=BROKEN)
    return without_secrets(verdict, target)


class ChannelGone(ControlPlaneError):
    """Its channel was deleted, and nobody knows where it goes."""

    code = "channel_gone"


def _target(delivery: Delivery) -> Target:
    if delivery.target:
        return thawed_route(delivery.target).target
    if delivery.channel is None:
        raise ChannelGone
    return target_of(delivery.channel)


def without_secrets(verdict: Verdict, target: Target) -> Verdict:
    """The verdict without what only the channel may know: far sides, and errors of libraries, repeat what they got."""
    secrets = sorted(set(_secrets_of(target)), key=len, reverse=True)
    if not secrets:
        return verdict
    pattern = re.compile("|".join(map(re.escape, secrets)))
    response, error = (pattern.sub(WITHHELD, text) for text in (verdict.response, verdict.error))
    return replace(verdict, response=response, error=error)


def _secrets_of(target: Target) -> Iterator[str]:
    if target.secret:
        yield target.secret
    yield from (each["value"] for each in target.options.get("headers", ()) if each.get("value"))
    # The addresses of a mail are no secret.
    if "://" not in target.address:
        return
    parts = urlsplit(target.address)
    yield target.address
    found = re.split(r"[/?&=;#]", f"{parts.path}?{parts.query}#{parts.fragment}")
    found += re.split(r"[:@]", parts.netloc.rpartition("@")[0])
    for each in found:
        yield from (text for text in (each, unquote(each)) if len(text) >= _SECRET_MIN_CHARS)


class Sender:
    """The threads of one process."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, threading.Thread] = {}
        # In which something came up while they were being sent.
        self._again: set[Lane] = set()
        self._lock = threading.Lock()
        self._desks = threading.BoundedSemaphore(DESKS)
        self._is_ending = False
        self._errors: list[Exception] = []

    def look(self) -> int:
        """Begin to send in each lane where something is due and nobody here is at it; how many were begun.

        Returns at once. Raises what broke a lane since the last look, so that the background job tells of it.
        """
        lanes = due_lanes(database_now())
        # Where there are more than threads, none is always the last.
        random.shuffle(lanes)
        begun = sum(self._begin(lane) for lane in lanes)
        with self._lock:
            errors, self._errors = self._errors, []
        if errors:
            raise errors[0]
        return begun

    def wait(self, within_s: float) -> bool:
        """Wait for the lanes that are being sent; False where some are still."""
        until = time.monotonic() + within_s
        for thread in self._threads():
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads())

    def end(self, within_s: float) -> bool:
        """Begin nothing more, and wait for the messages that are under way."""
        self._is_ending = True
        return self.wait(within_s)

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._lanes.values())

    def _begin(self, lane: Lane) -> bool:
        with self._lock:
            if lane in self._lanes:
                # It may have looked for more a moment ago.
                self._again.add(lane)
                return False
            if self._is_ending or len(self._lanes) >= settings.NOTIFY_CONCURRENCY:
                return False
            # A daemon: a far side that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._run, args=(lane,), name="send", daemon=True)
            self._lanes[lane] = thread
            thread.start()
        return True

    def _run(self, lane: Lane) -> None:
        try:
            while (claimed := self._claim(lane)) is not None or not self._leave(lane):
                if claimed is not None:
                    self._record(claimed, send(claimed.delivery))
        except Exception as error:
            logger.exception("delivery.lane_broken channel=%s", lane.channel_id)
            with self._lock:
                self._errors.append(error)
                self._again.discard(lane)
            self._leave(lane)

    def _leave(self, lane: Lane) -> bool:
        """Take the lane from those that are being sent, unless something came up in it meanwhile."""
        with self._lock:
            if lane in self._again:
                self._again.remove(lane)
                return False
            was_full = len(self._lanes) >= settings.NOTIFY_CONCURRENCY
            del self._lanes[lane]
        if was_full:
            ring()
        return True

    def _claim(self, lane: Lane) -> Claim | None:
        if self._is_ending:
            return None
        with self._desk():
            return claim(lane)

    def _record(self, claimed: Claim, verdict: Verdict) -> None:
        with self._desk():
            record(claimed, verdict)
        level = logging.INFO if verdict.ok else logging.WARNING
        delivery = claimed.delivery
        logger.log(level, "delivery.tried id=%s channel=%s ok=%s", delivery.pk, delivery.channel_id, verdict.ok)

    @contextmanager
    def _desk(self) -> Iterator[None]:
        """A connection for a moment: while a message is under way, others have it."""
        with self._desks:
            try:
                yield
            finally:
                connection.close()


sender = Sender()


@contextmanager
def sending() -> Iterator[None]:
    """Have this process send as soon as the bell rings, and let what is under way end with it."""
    global sender  # noqa: PLW0603 -- one that has ended stays so
    sender = Sender()
    ended = threading.Event()
    thread = threading.Thread(target=_answer_bell, args=(sender, ended), name="bell", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        ring()
        if not sender.end(DRAIN_S):
            logger.warning("delivery.left_behind within_s=%s", DRAIN_S)
        thread.join(1)


def _answer_bell(own: Sender, ended: threading.Event) -> None:
    while bell.wait() and not ended.is_set():
        bell.clear()
        try:
            own.look()
        except Exception:
            # The background job comes by each second.
            logger.exception("delivery.look_failed")
        finally:
            connection.close()


def send_deliveries() -> int:
    """Begin to send whatever is due; see `Sender.look`."""
    return sender.look()
