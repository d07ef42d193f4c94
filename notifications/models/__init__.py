from notifications.models.alert import Alert, AlertMember
from notifications.models.channel import Channel, Provider
from notifications.models.delivery import Attempt, Delivery
from notifications.models.inbox import RoutineNews, RuleCursor
from notifications.models.rule import Rule
from notifications.models.scope import EventType, Scope
from notifications.models.silence import Silence
from notifications.models.totals import DeliveryTotals

__all__ = [
    "Alert",
    "AlertMember",
    "Attempt",
    "Channel",
    "Delivery",
    "DeliveryTotals",
    "EventType",
    "Provider",
    "RoutineNews",
    "Rule",
    "RuleCursor",
    "Scope",
    "Silence",
]
