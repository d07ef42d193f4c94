"""Channels with their secrets in clear. STAND-IN: to be replaced at merge."""

from notifications.models import Channel
from notifications.providers.base import Target
from notifications.secrets import decrypt


def target_of(channel: Channel) -> Target:
    return Target(
        provider=channel.provider,
        address=decrypt(channel.address),
        secret=decrypt(channel.secret),
        options=channel.options,
        language=channel.language,
    )
