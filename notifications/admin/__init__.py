"""The console's pages for everything in `notifications`, one module per noun."""

from notifications.admin import alert, channel, delivery, rule, silence

__all__ = ["alert", "channel", "delivery", "rule", "silence"]
