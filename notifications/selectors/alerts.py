"""Alerts, whom they are about, and what covers that."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Min, Q, QuerySet

from agents.models import Instance, Service
from agents.selectors.covers import Cover, covers
from agents.selectors.instances import kept
from notifications.errors import AlertUnknown
from notifications.models import Alert, AlertMember, EventType
from notifications.selectors.covering import SUBJECTS_MAX, covers_of_instances

# Beyond so many services nobody reads the parts of an alert.
PARTS_MAX: Final = 50
OPEN = Q(ended_at__isnull=True)


def alerts() -> QuerySet[Alert]:
    """All with their rule, newest first."""
    return Alert.objects.select_related("rule").order_by("-opened_at", "-id")


def get_alert(alert_id: int) -> Alert:
    """Raises AlertUnknown."""
    alert = alerts().filter(pk=alert_id).first()
    if alert is None:
        raise AlertUnknown(f"alert {alert_id} was not found")
    return alert


def going_on() -> QuerySet[Alert]:
    """Those that are told of and not over."""
    return alerts().exclude(status=Alert.Status.RESOLVED).filter(status=Alert.Status.FIRING)


@dataclass(frozen=True, slots=True)
class Members:
    """How many subjects an alert has, how many of them are not over, and how many of these are silenced."""

    total: int = 0
    open: int = 0
    silenced: int = 0


def member_counts(rows: Collection[Alert]) -> dict[int, Members]:
    """The members of each of these alerts, counted. One query."""
    counted = (
        AlertMember.objects.filter(alert__in=[row.pk for row in rows])
        .order_by()
        .values("alert")
        .annotate(
            total=Count("pk"),
            open_count=Count("pk", filter=OPEN),
            silenced=Count("pk", filter=OPEN & Q(silence__isnull=False)),
        )
    )
    found = {each["alert"]: Members(each["total"], each["open_count"], each["silenced"]) for each in counted}
    return {row.pk: found.get(row.pk, Members()) for row in rows}


def members_of(alert: Alert, state: str = "") -> QuerySet[AlertMember]:
    """The members in the order in which they came; `state` is "open", "ended", "silenced" or empty for all."""
    rows = AlertMember.objects.filter(alert=alert).select_related("service", "instance", "silence").order_by("id")
    return rows.filter(
        {
            "open": OPEN,
            "ended": Q(ended_at__isnull=False),
            "silenced": OPEN & Q(silence__isnull=False),
        }.get(state, Q())
    )


@dataclass(frozen=True, slots=True)
class AlertPart:
    """What an alert has of one service: subjects that are not over, of how many instances where they are instances."""

    service: Service
    open: int
    total: int
    since: datetime
    among: int | None
    cover: Cover | None


def parts_of(alert: Alert, *, now: datetime) -> list[AlertPart]:
    """The alert by service, those with the most first; PARTS_MAX at most. Six queries at most."""
    counted = list(
        AlertMember.objects.filter(alert=alert, service__isnull=False)
        .order_by()
        .values("service")
        .annotate(total=Count("pk"), open_count=Count("pk", filter=OPEN), since=Min("first_at"))
        .order_by("-open_count", "-total", "service")[:PARTS_MAX]
    )
    keys = [each["service"] for each in counted]
    services = Service.objects.in_bulk(keys)
    is_away = alert.event_type == EventType.INSTANCE_OFFLINE
    is_of_instances = is_away or alert.event_type == EventType.INSTANCE_HEALTH
    among = _instances(keys) if is_of_instances else {}
    found = covers(keys, now=now) if is_away and alert.status != Alert.Status.RESOLVED else {}
    return [
        AlertPart(
            services[each["service"]],
            each["open_count"],
            each["total"],
            each["since"],
            among.get(each["service"], 0) if is_of_instances else None,
            found.get(each["service"]),
        )
        for each in counted
        if each["service"] in services
    ]


def _instances(service_ids: Collection[int]) -> dict[int, int]:
    """How many instances each of these services has, archived ones left out."""
    rows: QuerySet[Instance] = kept().filter(service__in=service_ids).order_by()
    return dict(rows.values_list("service").annotate(count=Count("pk")).values_list("service", "count"))


def cover_of(alert: Alert) -> str:
    """The fewest services, hosts, versions or labels that cover the instances that an alert is about and that are not
    over; empty where it is about others, or about one. Three queries."""
    rows = AlertMember.objects.filter(OPEN, alert=alert, task_name="", instance__isnull=False).order_by("id")
    found = list(rows.values_list("instance", flat=True)[:SUBJECTS_MAX])
    return covers_of_instances({alert.pk: found}).get(alert.pk, "") if len(found) > 1 else ""
