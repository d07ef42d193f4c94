"""What a draft would have told, as the API writes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.serializers import optional_text, optional_time
from controlplane.common.errors import Invalid
from controlplane.common.rest.fields import BodySerializer, IntegerField, TimestampField
from notifications.models import Rule, Silence
from notifications.services.replay import replay

REPLAY_DAYS_MAX: Final = 31
MESSAGES_GIVEN: Final = 500


class ReplayBody(BodySerializer):
    days = IntegerField(default=7, min_value=1, max_value=REPLAY_DAYS_MAX)


class ReplayedMessageSerializer(serializers.Serializer[Any]):
    at = TimestampField()
    kind = serializers.CharField()
    event_type = optional_text()
    title = serializers.CharField()
    event_count = serializers.IntegerField()
    subject_count = serializers.IntegerField()


class ReplaySerializer(serializers.Serializer[Any]):
    since = TimestampField()
    until = TimestampField()
    event_count = serializers.IntegerField(help_text="Events that match.")
    silenced_count = serializers.IntegerField(help_text="Of these, how many a silence would have kept quiet.")
    message_count = serializers.IntegerField()
    stopped_at = optional_time(help_text="Where the time for it was over before the end: nothing later was looked at.")
    messages_without = serializers.IntegerField(
        allow_null=True, help_text="Of a silence: how many messages there would have been without it."
    )
    is_cut = serializers.BooleanField(help_text="There were more events than are read at once; the newest were.")
    messages = ReplayedMessageSerializer(many=True, help_text=f"The newest {MESSAGES_GIVEN} at most, newest first.")


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """What a service refuses of a draft is told of its place in the body."""
    try:
        yield
    except Invalid as exc:
        raise Invalid(str(exc), field=f"{name}.{exc.field}".rstrip("."), code=exc.code) from exc


def replayed(draft: Rule | Silence, *, days: int) -> Response:
    """A draft, run over the last days; nothing of it is stored or sent."""
    now = timezone.now()
    found = replay(draft, now - timedelta(days=days), now)
    newest = sorted(found.messages, key=lambda message: message.at, reverse=True)
    answer = {
        "since": found.since,
        "until": found.until,
        "event_count": found.event_count,
        "silenced_count": found.silenced_count,
        "message_count": len(newest),
        "stopped_at": found.stopped_at,
        "messages_without": found.messages_without,
        "is_cut": found.is_cut,
        "messages": newest[:MESSAGES_GIVEN],
    }
    return Response(ReplaySerializer(answer).data)
