"""The stream as a route of the API."""

import weakref
from collections.abc import AsyncIterator
from typing import Any, Final

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.api.live.client import Client
from agents.api.live.messages import STREAMED_KINDS, Channel, Filter
from agents.api.live.seats import seats
from agents.api.live.stream import serve
from agents.api.queries import choice, name
from agents.models import Event
from agents.selectors.stream import CURSOR_PATTERN, Cursor
from controlplane.access.standing import admission_of, login_of
from controlplane.common.rest.fields import IdField, QuerySerializer, TextField
from controlplane.common.rest.views import ApiView, endpoint
from controlplane.common.serving import hang_up_of

MEDIA_TYPE: Final = "text/event-stream"
RESUME_HEADER: Final = "Last-Event-ID"
# `Connection` is the server's. A proxy that buffers would hold messages back.
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_CHANNELS_MAX_CHARACTERS = 200


_CHANNEL_PATTERN = f"({'|'.join(Channel)})"


@extend_schema_field({"type": "string", "pattern": f"^{_CHANNEL_PATTERN}(,{_CHANNEL_PATTERN})*$"})
class ChannelsField(TextField):
    """Channels by comma."""

    default_error_messages = {"enum": "Input should be channels by comma, of: {channels}"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        try:
            return frozenset(Channel(part.strip()) for part in text.split(","))
        except ValueError:
            self.fail("enum", channels=", ".join(Channel))


@extend_schema_field({"type": "string", "pattern": f"^{CURSOR_PATTERN}$"})
class CursorField(TextField):
    """The id of a message of the stream."""

    default_error_messages = {"cursor": "Input should be the id of a message of the stream"}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        cursor = Cursor.parse(super().run_validation(data))
        if cursor is None:
            self.fail("cursor")
        return cursor


class StreamQuery(QuerySerializer):
    channels = ChannelsField(
        required=False,
        max_length=_CHANNELS_MAX_CHARACTERS,
        help_text=f"By comma, of: {', '.join(Channel)}. `events` is all of them, as is no channel at all.",
    )
    environment = name(help_text="Exact name of the environment.")
    service = name(help_text="Exact name of the service.")
    instance_id = IdField(required=False)
    kind = choice(STREAMED_KINDS)
    level = choice(Event.Level.choices)
    cursor = CursorField(
        required=False,
        max_length=_CHANNELS_MAX_CHARACTERS,
        help_text=f"Where to go on from, for a first request; the header {RESUME_HEADER} counts before it.",
    )


class EventStream(StreamingHttpResponse):
    """Has a seat until it is closed, or is forgotten without ever having been sent."""

    def __init__(self, frames: AsyncIterator[bytes], *, user_id: int) -> None:
        super().__init__(frames, content_type=MEDIA_TYPE, headers=_HEADERS)
        self._leave = weakref.finalize(self, seats.leave, user_id)

    def close(self) -> None:
        super().close()
        self._leave()


class UiStreamView(ApiView):
    """What happens, as server-sent events, each `data` one JSON object with `channel` and `published_at`.

    Messages of events have `event_id`, `kind`, `level`, `occurred_at`, `service`, `instance_id`, `command_id`,
    `task_name` and `message` beside them, and an `id` to go on from by the header Last-Event-ID. The channels `status`,
    `reset` and `closed` are about the stream itself. Task events of healthy work (started, succeeded) are not sent.
    """

    @endpoint(
        "What happens, live",
        query=StreamQuery,
        responds=None,
        media_type=MEDIA_TYPE,
        headers={RESUME_HEADER: "The id of the last message that was read: the stream goes on behind it."},
        refusals=(429, 503),
    )
    def get(self) -> HttpResponseBase:
        if self.request.method == "HEAD":
            return HttpResponse(content_type=MEDIA_TYPE, headers=_HEADERS)
        login = login_of(self.request)
        shown = self.request.headers.get(RESUME_HEADER, "")
        cursor = Cursor.parse(shown) if shown else self.query.get("cursor")
        client = Client(
            login=login,
            admission=admission_of(self.request),
            wanted=Filter(**{key: value for key, value in self.query.items() if key != "cursor"}),
            cursor=cursor,
            # No error: a browser that kept an id of another portal would never come again.
            is_lost=bool(shown) and cursor is None,
            hang_up=hang_up_of(self.request._request),  # noqa: SLF001 -- DRF offers no other way to the scope
        )
        seats.take(login.user_id)
        return EventStream(serve(client), user_id=login.user_id)
