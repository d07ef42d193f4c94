"""The node registry over HTTP, below /api/v1/master. Source: argus contract, Endpoints.

Errors are `{"error": "<one sentence that names the field>"}`, always in English: programs compare and log them.
"""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import Final

from django.conf import settings
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.views.decorators.csrf import csrf_exempt

from agents.gateways.admission import spread_s
from agents.gateways.argus.discovery import DISCOVERY, discovery_json, parse_port
from agents.gateways.argus.document import CONFIGURE, COUNT, LIST, REGISTER, REPORT, SHOW
from agents.gateways.argus.doors import Caller, caller_of
from agents.gateways.argus.protocol import (
    error_json,
    list_json,
    node_json,
    parse_config,
    parse_registration,
    parse_report,
    statistics_json,
)
from agents.models.instance import Dialect
from agents.selectors.discovery import targets
from agents.selectors.nodes import node_by_id, node_counts, nodes_listed, unknown_node
from agents.services.errors import InstanceLeaving, NodeOfOther, NodesFull
from agents.services.node_reports import StatusReport, record_report
from agents.services.nodes import Registration, configure_node, register_node
from agents.services.refusals import Cause, record_refusal, shown_prefix
from controlplane.access.actors import address_of
from controlplane.access.table import rule_for
from controlplane.common.clean import clean_text
from controlplane.common.errors import ControlPlaneError, Forbidden, Invalid, NotFound, Unauthorized
from controlplane.common.rest.etags import CACHE_CONTROL, etag_of
from controlplane.common.rest.plain import describe
from controlplane.common.throttling import SenderThrottle

logger = logging.getLogger(__name__)

REALM: Final = 'Bearer realm="registry"'
_RETRY_AFTER_S: Final = "5"
_STATUSES: Final[tuple[tuple[type[ControlPlaneError], int], ...]] = (
    (Invalid, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    # The status that agents in the field expect.
    (NodeOfOther, 500),
)
_SENDERS_MAX: Final = 10_000
_registrations: SenderThrottle[str] = SenderThrottle(
    per_s=settings.NODE_REGISTRATIONS_PER_S, burst=settings.NODE_REGISTRATION_BURST, senders_max=_SENDERS_MAX
)
# Who is refused is noted once a minute for each address, cause and token; whoever makes up tokens or addresses is noted
# a few times a minute, and all of them together no more often than the second limit allows.
_REFUSED_MAX: Final = 200
_refused: SenderThrottle[tuple[str, str, str]] = SenderThrottle(per_s=1 / 60, burst=1, senders_max=_SENDERS_MAX)
_refused_peers: SenderThrottle[str] = SenderThrottle(per_s=1 / 6, burst=10, senders_max=_SENDERS_MAX)
_refused_in_all: SenderThrottle[None] = SenderThrottle(per_s=_REFUSED_MAX / 60, burst=_REFUSED_MAX, senders_max=1)
# That there is no room is told once an hour, however many ask.
_full_told: SenderThrottle[None] = SenderThrottle(per_s=1 / 3600, burst=1, senders_max=1)
Handler = Callable[..., HttpResponseBase]


class _BodyTooLarge(ControlPlaneError):
    """The body is larger than NODE_BODY_MAX_BYTES."""

    code = "body_too_large"


def _served(**handlers: Handler) -> Handler:
    """A view of handlers by verb; GET serves HEAD too, and no other verb is there.

    Needs no form token: nodes have none, and what browsers may do is asked by `caller_of`.
    """
    by_verb = {verb.upper(): handler for verb, handler in handlers.items()}
    if "GET" in by_verb:
        by_verb["HEAD"] = by_verb["GET"]

    @csrf_exempt
    def view(request: HttpRequest, **params: str) -> HttpResponseBase:
        handler = by_verb.get(request.method or "")
        if handler is None:
            allowed = ", ".join(by_verb)
            return error_answer(405, f"The method must be one of {allowed}.", {"Allow": allowed})
        return _answered(handler, request, params)

    return view


def _answered(handler: Handler, request: HttpRequest, params: Mapping[str, str]) -> HttpResponseBase:
    try:
        for node_id in params.values():
            # No database is asked for what none can hold.
            if clean_text(node_id) != node_id:
                raise unknown_node(node_id)
        return handler(request, **params)
    except _BodyTooLarge:
        return error_answer(413, f"The body must have {settings.NODE_BODY_MAX_BYTES} bytes at most.")
    except InstanceLeaving as error:
        return error_answer(503, str(error), {"Retry-After": _RETRY_AFTER_S})
    except ControlPlaneError as error:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), None)
        if status is None:
            raise
        # That there is no room is noted where it is found out.
        if handler in (_register, _report) and not isinstance(error, NodesFull):
            _note_refusal(request, error)
        return error_answer(status, str(error), {"WWW-Authenticate": REALM} if status == 401 else None)
    except DataError as error:
        # Every value is checked before: what a database still refuses is a bad body all the same.
        logger.warning("registry.refused_by_database error=%s", type(error).__name__)
        return error_answer(400, "The body holds a value that cannot be stored.")
    except IntegrityError as error:
        logger.warning("registry.conflict_in_database error=%s", type(error).__name__)
        return error_answer(
            503, "Somebody else changed the same at this moment; try again.", {"Retry-After": _RETRY_AFTER_S}
        )
    except (OperationalError, InterfaceError) as error:
        logger.warning("registry.database_unavailable error=%s", type(error).__name__)
        return error_answer(503, "The database is unavailable; try again later.", {"Retry-After": _RETRY_AFTER_S})


def _note_refusal(request: HttpRequest, error: ControlPlaneError) -> None:
    """Note that a node was refused, once a minute for an address, a cause and a token."""
    causes = ((Forbidden, Cause.ENVIRONMENT), (Invalid, Cause.BODY))
    cause = next((cause for kind, cause in causes if isinstance(error, kind)), None)
    if cause is None and not isinstance(error, Unauthorized):
        return
    secret = request.headers.get("Authorization", "").partition(" ")[2].strip()
    address = address_of(request)
    key = (address, cause or "token", shown_prefix(secret))
    if not (_refused.lets_pass(key) and _refused_peers.lets_pass(address) and _refused_in_all.lets_pass(None)):
        return
    try:
        record_refusal(
            dialect=Dialect.ARGUS,
            peer_address=address,
            reason=str(error),
            cause=cause,
            secret=secret if settings.AUTH_MODE == "token" else None,
        )
    except (DataError, OperationalError, InterfaceError) as failure:
        logger.warning("registry.refusal_unrecorded error=%s", type(failure).__name__)


def error_answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    response = _json(error_json(sentence), status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    # Django would log an error for what the agent, or whoever looks at its log, is told.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response


def _json(content: bytes, status: int = 200) -> HttpResponse:
    return HttpResponse(content, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})


def _caller(request: HttpRequest) -> Caller:
    match = request.resolver_match
    return caller_of(request, rule_for(match.route if match else "", request.method or ""))


def _body(request: HttpRequest) -> bytes:
    """The body, whatever its length header says: one that comes in chunks has none."""
    raw = request.read(settings.NODE_BODY_MAX_BYTES + 1)
    if len(raw) > settings.NODE_BODY_MAX_BYTES:
        raise _BodyTooLarge
    return raw


def _list(request: HttpRequest) -> HttpResponse:
    return _json(list_json(nodes_listed(_caller(request).environments)))


def network_of(address: str) -> str:
    """Whom registrations are counted for: an address, or of IPv6 the network of 64 bits, which one host may have."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _register(request: HttpRequest) -> HttpResponse:
    caller = _caller(request)
    wait_s = _registrations.wait_s(network_of(caller.actor.address))
    if wait_s:
        sentence = "Too many registrations came from this address; try again later."
        return error_answer(429, sentence, {"Retry-After": str(spread_s(wait_s) + 1)})
    body = parse_registration(_body(request))
    registration = Registration(
        node_id=body.node_id,
        name=body.name,
        type=body.type,
        version=body.version,
        meta_data=body.meta_data,
        address=caller.actor.address,
        environments=caller.environments,
    )
    try:
        node, is_new = register_node(registration)
    except IntegrityError:
        # What it referenced was removed at this moment: the second time, it is not found any more.
        node, is_new = register_node(registration)
    except NodesFull as error:
        if _full_told.lets_pass(None):
            record_refusal(
                dialect=Dialect.ARGUS, peer_address=registration.address, reason=str(error), cause=Cause.FULL
            )
        raise
    caller.let_in()
    return _json(node_json(node), 201 if is_new else 200)


def _show(request: HttpRequest, node_id: str) -> HttpResponse:
    return _json(node_json(node_by_id(node_id, _caller(request).environments)))


def _report(request: HttpRequest, node_id: str) -> HttpResponse:
    caller = _caller(request)
    body = parse_report(_body(request))
    report = StatusReport(
        node_id=node_id, reported_at=body.reported_at, health=body.health, environments=caller.environments
    )
    node = record_report(report)
    caller.let_in()
    return _json(node_json(node))


def _configure(request: HttpRequest, node_id: str) -> HttpResponse:
    caller = _caller(request)
    body = parse_config(_body(request))
    node = configure_node(
        node_id, config=body.config, label=body.label, actor=caller.actor, environments=caller.environments
    )
    return _json(node_json(node))


def _count(request: HttpRequest) -> HttpResponse:
    return _json(statistics_json(node_counts(_caller(request).environments)))


def _discover(request: HttpRequest) -> HttpResponseBase:
    caller = _caller(request)
    port = parse_port(request.GET)
    content = discovery_json(targets(caller.environments), port=port)
    etag = etag_of(content)
    headers = {"Cache-Control": CACHE_CONTROL, "ETag": etag}
    response = HttpResponse(content, content_type="application/json", headers=headers)
    return get_conditional_response(request, etag=etag, response=response) or response


nodes = describe("post", REGISTER)(describe("get", LIST)(_served(get=_list, post=_register)))
statistics = describe("get", COUNT)(_served(get=_count))
node = describe("get", SHOW)(_served(get=_show))
node_status = describe("put", REPORT)(_served(put=_report))
node_config = describe("put", CONFIGURE)(_served(put=_configure))
discovery = describe("get", DISCOVERY)(_served(get=_discover))


@csrf_exempt
def unknown(_request: HttpRequest, *_parts: str) -> HttpResponse:
    """What answers below the base path where nothing else does, to everybody and every verb."""
    return error_answer(404, "The path must be one of the registry's; this one is not known.")
