"""Telemetry that was read and cannot take its ordinary way any more: its session has ended, or its server does.

The agent holds it for delivered. Answers to commands may go: the agent repeats them when its next session gets the
command again.
"""

import logging
from collections.abc import Iterable, Sequence

from django.utils import timezone

from agents.gateways.onestep import protocol
from agents.gateways.onestep.protocol import SessionContext
from agents.gateways.onestep.reading import ProtocolError, parse_envelope
from agents.gateways.share import weigh
from agents.services.reports import Report
from controlplane.common.batching import MicroBatcher

logger = logging.getLogger(__name__)


def read_telemetry(text: str, context: SessionContext) -> Sequence[Report]:
    """The records of a frame, none where it is no telemetry. Raises ProtocolError."""
    envelope = parse_envelope(text)
    if envelope.type != "telemetry":
        return ()
    return protocol.parse_telemetry(envelope.payload, context, timezone.now()).reports


def salvage(texts: Iterable[str], context: SessionContext, batcher: MicroBatcher[Report]) -> None:
    """Hand over what these frames report, beyond all bounds; one that cannot be read costs none of the others."""
    for text in texts:
        try:
            batcher.put_late(read_telemetry(text, context), size_bytes=weigh(text))
        except ProtocolError as error:
            logger.info("onestep.unsalvaged instance=%s error=%s", context.instance_id, error)
        except Exception:
            logger.exception("onestep.unsalvaged instance=%s", context.instance_id)
