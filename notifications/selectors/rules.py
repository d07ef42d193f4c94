"""Rules, and what of them is going on."""

from collections.abc import Collection

from django.db.models import Count, Prefetch, QuerySet

from notifications.errors import RuleUnknown
from notifications.models import Alert, Channel, Rule


def rules() -> QuerySet[Rule]:
    """All with their channels, by name."""
    return Rule.objects.prefetch_related(Prefetch("channels", Channel.objects.order_by("name"))).order_by("name")


def get_rule(rule_id: int) -> Rule:
    """Raises RuleUnknown."""
    rule = rules().filter(pk=rule_id).first()
    if rule is None:
        raise RuleUnknown(f"rule {rule_id} was not found")
    return rule


def open_alert_counts(rows: Collection[Rule]) -> dict[int, int]:
    """How many alerts of each of these rules are not over. One query."""
    found = Alert.objects.exclude(status=Alert.Status.RESOLVED).filter(rule__in=[row.pk for row in rows])
    return dict(found.order_by().values_list("rule").annotate(count=Count("pk")).values_list("rule", "count"))
