"""The presence beacon: a side thread of the agent says that the process lives while its event loop is blocked."""

import time
from collections.abc import Callable
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.db import IntegrityError, OperationalError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.gateways.onestep.protocol import parse_presence
from agents.gateways.onestep.reading import ProtocolError
from agents.models.instance import Dialect
from agents.models.service import Environment
from agents.services.errors import InstanceConflict, InstanceLeaving
from agents.services.instances import record_presence
from agents.services.tokens import check_agent_token
from controlplane.common.rest.plain import describe, refusal
from controlplane.common.throttling import SenderThrottle

_RETRY_AFTER_S = "5"
# Agents send a beacon every 30 s. This many may come at once, as after a network that held them back, then one a
# second; more would be writes to one row as fast as somebody can send.
BEACON_BURST = 5
BEACONS_PER_S = 1.0
# Instances whose beacons are counted in this process; beyond it, those heard of longest ago are forgotten.
BEACON_SENDERS_MAX = 10_000


class BeaconThrottle(SenderThrottle[UUID]):
    """The beacons of each instance."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(per_s=BEACONS_PER_S, burst=BEACON_BURST, senders_max=BEACON_SENDERS_MAX, clock=clock)


_throttle = BeaconThrottle()
# `wire.PresenceBeacon` in the words of the OpenAPI document.
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_BEACON = {
    "type": "object",
    "required": ["service", "sent_at"],
    "properties": {
        "service": {
            "type": "object",
            "required": ["name", "environment", "node_name", "instance_id", "deployment_version"],
            "properties": {
                "name": _NAME,
                "environment": {"type": "string", "enum": Environment.values},
                "node_name": _NAME,
                "instance_id": {"type": "string", "format": "uuid"},
                "deployment_version": _NAME | {"maxLength": 128},
                "description": {"type": "string", "nullable": True},
            },
        },
        "sent_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]},
    },
    "example": {
        "service": {
            "name": "web/shop",
            "environment": "dev",
            "node_name": "shop-2",
            "instance_id": "85a51e59-7ca4-41f0-b3ae-86f878d910e1",
            "deployment_version": "1.15.0",
        },
        "sent_at": "2026-01-02T03:04:05Z",
    },
}
_OPERATION = {
    "operationId": "post_agents_presence",
    "summary": "Presence beacon of an agent",
    "description": "Moves `last_seen_at` while the event loop of the agent is blocked, and nothing else.",
    "tags": ["agents"],
    "security": [{"agentToken": []}],
    "requestBody": {"required": True, "content": {"application/json": {"schema": _BEACON}}},
    "responses": {
        "204": {"description": "It is noted."},
        "401": refusal("The agent token is missing, unknown, revoked, expired or not for this dialect."),
        "403": refusal("The token does not speak for this environment."),
        "409": refusal("The instance belongs to another service."),
        "413": refusal("The body is too large."),
        "422": refusal("The body cannot be right."),
        "429": refusal("More than one a second; try again after `Retry-After` seconds."),
        "503": refusal("It could not be stored now; try again after `Retry-After` seconds."),
    },
}


@describe("post", _OPERATION)
@csrf_exempt
def presence(request: HttpRequest) -> HttpResponse:
    """POST /api/v1/agents/presence: 204 and `last_seen_at` moves; nothing else does. Source: contract 2.5.

    401 bad token, 403 token not for this environment, 409 identity of another service, 413 and 422 bad body; with
    Retry-After: 429 beyond BEACONS_PER_S of one instance, 503 while the database is away. The client stops for good at
    most of these, never at 429 and 503.
    """
    if request.method != "POST":
        return _refusal(404, "not found")
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    try:
        credential = check_agent_token(token.strip() if scheme.lower() == "bearer" else "", dialect=Dialect.ONESTEP)
        if credential is None:
            return _refusal(401, "The agent token is missing, unknown, revoked, expired or not for this dialect.")
        identity = parse_presence(request.body)
        if not credential.speaks_for(identity.environment):
            return _refusal(403, f"This token does not speak for the environment {identity.environment}.")
        if not _throttle.lets_pass(identity.instance_id):
            return _later(429, "This instance sends its presence too often.")
        with transaction.atomic():
            record_presence(identity, dialect=Dialect.ONESTEP, at=timezone.now())
    except RequestDataTooBig:
        return _refusal(413, "The body is too large.")
    except ProtocolError as error:
        return _refusal(422, str(error))
    except InstanceLeaving as error:
        return _later(503, str(error))
    except InstanceConflict as error:
        return _refusal(409, str(error))
    except (OperationalError, IntegrityError):
        # IntegrityError: its first hello made the rows at this very moment; the next beacon finds them.
        return _later(503, "The presence could not be stored now.")
    return HttpResponse(status=204)


def _later(status: int, detail: str) -> HttpResponse:
    response = _refusal(status, detail)
    response["Retry-After"] = _RETRY_AFTER_S
    return response


def _refusal(status: int, detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=status)
