"""The agents' answers to commands: gathered, stored together, and kept while the database is away."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from django.conf import settings

from agents.services.delivery import Answer, AnswerOutcome, record_answers
from controlplane.common.batching import MicroBatcher

logger = logging.getLogger(__name__)

# Somebody may look at the command: its answer is stored soon. An acknowledgement and the result of quick work that
# follows it, and what other agents answer meanwhile, share a transaction.
_FLUSH_INTERVAL_S = 0.04
_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """An answer on its way to the database; `settle` learns, on the event loop, why it was not taken."""

    answer: Answer
    settle: Callable[[Exception], None]


AnswerBatcher: TypeAlias = MicroBatcher[PendingAnswer]


def answer_batcher() -> AnswerBatcher:
    """A batcher for the answers of one event loop. What the service refuses goes back to the socket it came from."""
    loop = asyncio.get_running_loop()

    def write(batch: Sequence[PendingAnswer]) -> None:
        outcomes = record_answers([pending.answer for pending in batch])
        loop.call_soon_threadsafe(_settle, list(zip(batch, outcomes, strict=True)))

    def poisoned(pending: PendingAnswer, error: Exception) -> None:
        loop.call_soon_threadsafe(pending.settle, error)

    return MicroBatcher(
        "answers",
        write,
        queue_size=settings.INGEST_QUEUE_SIZE,
        batch_size=_BATCH_SIZE,
        flush_interval_s=_FLUSH_INTERVAL_S,
        on_poison=poisoned,
        queue_bytes=settings.INGEST_QUEUE_BYTES,
        batch_bytes=settings.INGEST_BATCH_BYTES,
    )


def _settle(settled: Sequence[tuple[PendingAnswer, AnswerOutcome]]) -> None:
    for pending, outcome in settled:
        if outcome is not None:
            pending.settle(outcome)
