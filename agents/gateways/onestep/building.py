"""Building the frames that the portal sends. Source: contract 1.4, 1.7 and 1.8."""

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import msgspec
from django.utils import timezone

from agents.gateways.onestep import wire
from agents.services.delivery import ClaimedCommand


def _frame(kind: str, payload: dict[str, object]) -> str:
    envelope = {
        "type": kind,
        "message_id": f"msg_{uuid4().hex}",
        "sent_at": _wire_time(timezone.now()),
        "payload": payload,
    }
    return msgspec.json.encode(envelope).decode()


def _wire_time(moment: datetime) -> str:
    """ISO 8601 with a numeric offset in the configured zone."""
    return timezone.localtime(moment).isoformat()


def build_hello_ack(session_public_id: str, accepted: Sequence[str], *, heartbeat_interval_s: int) -> str:
    return _frame(
        "hello_ack",
        {
            "session_id": session_public_id,
            "protocol_version": wire.PROTOCOL_VERSION,
            "heartbeat_interval_s": heartbeat_interval_s,
            "accepted_capabilities": list(accepted),
            "server_time": _wire_time(timezone.now()),
        },
    )


def build_command(command: ClaimedCommand) -> str:
    return _frame(
        "command",
        {
            "command_id": command.public_id,
            "kind": command.kind,
            "args": command.args,
            "timeout_s": command.timeout_s,
            "created_at": _wire_time(command.created_at),
        },
    )


def build_error(code: str, message: str, *, closes: bool) -> str:
    return _frame("error", {"code": code, "message": message, "close_connection": closes})
