"""The one URL of `bench.bare`, and Django's own ASGI handler behind a lifespan."""

import json
from datetime import datetime

from channels.routing import ProtocolTypeRouter
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone

from agents.models import Instance
from bench.empty_application import lifespan


def report(request: HttpRequest, node_id: str) -> HttpResponse:
    """One UPDATE, and as much of an answer as a client needs."""
    reported_at = datetime.fromisoformat(json.loads(request.body)["timestamp"])
    updated = Instance.objects.filter(dialect="argus", external_id=node_id).update(
        last_seen_at=timezone.now(), last_heartbeat_sent_at=reported_at
    )
    response = JsonResponse({"id": node_id}, status=200 if updated else 404)
    # Which is a middleware's work otherwise.
    response["Content-Length"] = len(response.content)
    return response


urlpatterns = [path("api/v1/master/nodes/<str:node_id>/status", report)]
application = ProtocolTypeRouter({"http": ASGIHandler(), "lifespan": lifespan})
