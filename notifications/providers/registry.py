"""The providers by name."""

from collections.abc import Mapping
from typing import Final

from notifications.providers.apprise import Apprise
from notifications.providers.base import Provider
from notifications.providers.email import Email
from notifications.providers.feishu import Feishu
from notifications.providers.webhook import Webhook
from notifications.providers.wecom import WeCom

PROVIDERS: Final[Mapping[str, Provider]] = {
    "feishu": Feishu(),
    "wechat_work": WeCom(),
    "custom": Webhook(),
    "email": Email(),
    "apprise": Apprise(),
}


def provider_of(name: str) -> Provider:
    """Raises KeyError for a name that is none of `notifications.models.Provider`."""
    return PROVIDERS[name]
