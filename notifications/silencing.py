"""From where one looks to a silence or a rule: what of an alert, an instance, a service, a task or an event it means.

Apart from notifications.admin, because template tags are loaded while the admin is still being imported.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.labels import Selector
from agents.models import Event, Instance, Service
from controlplane.console.formatting import Words, admin_url
from notifications import words
from notifications.engine.kinds import TYPE_OF
from notifications.models import Alert, AlertMember, EventType, Silence

# Longer than a week: a weekly silence has a round in each stretch that long.
_BEFORE: Final = timedelta(days=8)
# Hours by which a button names them.
DURATIONS: Final[tuple[tuple[str, Words], ...]] = (
    ("1", _("1 hour")),
    ("4", _("4 hours")),
    ("24", _("1 day")),
    ("168", _("1 week")),
)
SERVICES_MAX: Final = 100
TASKS_MAX: Final = 10
REASON_MAX: Final = 2000


def silence_values(alert: Alert, reason: str) -> dict[str, Any]:
    """What a silence of this alert means: its event type, at the services that it is about.

    Of an alert about more services than SERVICES_MAX, or about none, the scope of its rule. Tasks are named where it is
    about few of them, and a single instance by its name.
    """
    rule = alert.rule
    reason = reason.replace("\x00", "").strip()[:REASON_MAX]
    values: dict[str, Any] = {
        "reason": reason or gettext("Known: %s") % words.alert_title(alert),
        "event_types": [alert.event_type],
        "service_scopes": rule.service_scopes,
        "environments": rule.environments,
        "selector": rule.selector,
        "task_pattern": rule.task_pattern,
    }
    rows = AlertMember.objects.filter(alert=alert)
    services = list(
        Service.objects.filter(pk__in=rows.values("service")).order_by("environment", "name")[: SERVICES_MAX + 1]
    )
    if not services or len(services) > SERVICES_MAX:
        return values
    values["service_scopes"] = [{"name": row.name, "environment": row.environment} for row in services]
    tasks = sorted(set(rows.exclude(task_name="").order_by().values_list("task_name", flat=True)[: 50 * TASKS_MAX]))
    if 0 < len(tasks) <= TASKS_MAX and not any(sign in name for name in tasks for sign in "*?,"):
        values["task_pattern"] = ", ".join(tasks)
    only = list(rows.filter(task_name="", instance__isnull=False).select_related("instance")[:2])
    if len(only) == 1 and rows.count() == 1 and only[0].instance is not None and only[0].instance.node_name:
        values["selector"] = selector_of(only[0].instance)
    return values


def always(silence: Silence, *, days: int, now: datetime) -> Silence:
    """A draft as if it had been in force for the last days: one for once all the time, a weekly one in its rounds."""
    silence.starts_at = now - timedelta(days=days) - _BEFORE
    silence.ends_at = None if silence.recurs else now + _BEFORE
    silence.cancelled_at = None
    return silence


def selector_of(instance: Instance) -> str:
    """The selector of one instance, by its name; the text that a silence keeps."""
    return str(Selector(match_labels=(("portal/node", instance.node_name),))) if instance.node_name else ""


def rule_of_event_url(event: Event) -> str:
    """The form of a rule that tells of such events; empty for a kind that cannot be told."""
    if event.kind not in TYPE_OF:
        return ""
    event_type = EventType(TYPE_OF[event.kind])
    return admin_url(
        "notifications_rule_add",
        event_types=event_type.value,
        service=event.service_id,
        task_pattern=event.task_name,
        name=" · ".join(part for part in (str(event_type.label), str(event.service or ""), event.task_name) if part),
    )


def silence_instance_url(instance: Instance) -> str:
    return admin_url(
        "notifications_silence_add",
        service=instance.service_id,
        selector=selector_of(instance),
        about=instance.node_name or instance.external_id[:8],
    )


def silence_service_url(service: Service) -> str:
    return admin_url("notifications_silence_add", service=service.pk, about=str(service))


def silence_task_url(service: Service, task_name: str) -> str:
    return admin_url("notifications_silence_add", service=service.pk, task_pattern=task_name, about=task_name)


def silence_selector_url(selector: str) -> str:
    return admin_url("notifications_silence_add", selector=selector, about=selector[:80])
