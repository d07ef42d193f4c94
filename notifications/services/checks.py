"""What rules and silences have in common, checked before it is stored."""

from collections.abc import Collection, Sequence
from zoneinfo import available_timezones

from django.utils.translation import gettext as _

from agents.labels import parse
from controlplane.common.errors import Invalid
from notifications.models import EventType, Scope


def check_scope(scope: Scope) -> None:
    """Raise Invalid where a scope cannot be; its selector is put into its canonical form."""
    scope.selector = str(parse(scope.selector)) if scope.selector.strip() else ""
    for number, each in enumerate(scope.service_scopes):
        if not isinstance(each, dict) or each.keys() != {"name", "environment"}:
            raise Invalid(_("A service has a name and an environment."), field=f"service_scopes.{number}")


def check_event_types(event_types: Sequence[str]) -> None:
    for each in event_types:
        if each not in EventType.values:
            raise Invalid(_("There is no event type %s.") % each, field="event_types")
    if len(set(event_types)) != len(event_types):
        raise Invalid(_("Each event type once."), field="event_types")


def check_weekdays(weekdays: Collection[object], *, field: str) -> None:
    if len(set(weekdays)) != len(weekdays) or not set(weekdays) <= set(range(7)):
        raise Invalid(_("Weekdays are numbers from 0 (Monday) to 6, each once."), field=field)


def check_zone(name: str, *, field: str) -> None:
    if name and name not in available_timezones():
        raise Invalid(_("There is no time zone %s.") % name, field=field)
