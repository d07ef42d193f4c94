"""What the APIs of all kinds of tokens share: how a token is shown, asked for and found."""

from datetime import datetime
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone
from rest_framework import serializers

from controlplane.common.environments import Environment
from controlplane.common.rest.fields import BodySerializer, IntegerField, TextField, TimestampField
from controlplane.common.rest.filters import ApiFilter
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.tokens import STATES, in_state, state_of

NAME_MAX: Final = 255
# Both are backed by an index, the name by its being unique.
ORDERINGS: Final = {"name": ("name",), "created_at": ("created_at", "id")}


class TokenIdField(IntegerField):
    """The number of a token, as it stands in a path."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **kwargs | {"from_text": True, "min_value": 1, "help_text": "The `id` of a token in the list."}
        )


class TokenSerializer(SparseSerializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="The first characters of the secret, to recognise it by.")
    environments = serializers.ListField(
        child=serializers.CharField(), help_text="What it is narrowed to; empty means all."
    )
    state = serializers.SerializerMethodField()
    expires_at = TimestampField(allow_null=True)
    revoked_at = TimestampField(allow_null=True)
    last_used_at = TimestampField(allow_null=True, help_text="To the minute.")
    created_at = TimestampField()

    def get_state(self, token: Any) -> str:
        return state_of(token, timezone.now())


class _FutureField(TimestampField):
    default_error_messages = {"past": "This time has passed already; the token would never be usable."}

    def to_internal_value(self, data: Any) -> datetime:
        moment = super().to_internal_value(data)
        if moment <= timezone.now():
            self.fail("past")
        return moment


class TokenBody(BodySerializer):
    name = TextField(max_length=NAME_MAX)
    environments = serializers.ListField(
        child=serializers.ChoiceField(choices=Environment.choices),
        required=False,
        max_length=len(Environment),
        help_text="What it is narrowed to. Empty means all; absent, what the API token shown here is narrowed to.",
    )
    expires_at = _FutureField(required=False, allow_null=True, default=None, help_text="Null means never.")


def state_filter() -> ApiFilter:
    return ApiFilter(serializers.ChoiceField(choices=STATES, required=False), _in_state)


def _in_state(state: str) -> Q:
    return in_state(state, timezone.now())
