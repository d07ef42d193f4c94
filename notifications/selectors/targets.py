"""Where messages go, with the secrets in clear: of a channel, and of a delivery that outlived its channel."""

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings

from notifications.models import Channel
from notifications.providers.base import Target
from notifications.providers.budgets import Budget, budget_of
from notifications.secrets import decrypt, encrypt


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How deliveries of a channel go: to whom, how often, and of which zone their times are."""

    target: Target
    per_second: int | None = None
    per_minute: int | None = None
    time_zone: str = ""

    @property
    def budget(self) -> Budget:
        return budget_of(self.target.provider, self.per_second, self.per_minute)


def target_of(channel: Channel) -> Target:
    """The channel with its secrets in clear; raises what `notifications.secrets` does where its key is gone."""
    return Target(
        provider=channel.provider,
        address=decrypt(channel.address),
        secret=decrypt(channel.secret),
        options=clear_options(channel.options),
        language=channel.language,
    )


def clear_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options as they are stored, with the values of their headers in clear."""
    if not options.get("headers"):
        return options
    return {**options, "headers": [{**each, "value": decrypt(each["value"])} for each in options["headers"]]}


def frozen_route(channel: Channel) -> str:
    """The route of a channel that is to go, encrypted as `Delivery.target` has it."""
    route = Route(
        target=target_of(channel),
        per_second=channel.per_second,
        per_minute=channel.per_minute,
        time_zone=channel.time_zone,
    )
    return encrypt(msgspec.json.encode(route).decode())


def thawed_route(frozen: str) -> Route:
    """Raises what `notifications.secrets` does where its key is gone."""
    return msgspec.json.decode(decrypt(frozen), type=Route)


def zone_of(time_zone: str) -> ZoneInfo:
    """The zone of the times in a channel's messages; empty is the portal's."""
    return ZoneInfo(time_zone or settings.TIME_ZONE)
