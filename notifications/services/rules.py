"""Rules: made, changed and deleted, each with an event that says so."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, difference, snapshot
from notifications.engine.quiet import is_endless
from notifications.errors import RuleNameTaken, RuleUnknown
from notifications.models import Alert, Rule
from notifications.services.checks import check_event_types, check_scope, check_weekdays, check_zone

SECONDS_MAX: Final = 30 * 86_400
# The times of so many events are kept with an alert.
THRESHOLD_MAX: Final = 1000
GRACE_MAX_S: Final = 86_400
# What people are reminded of more often than this they cannot answer.
REPEAT_MIN_S: Final = 60
# What decides which alert an event belongs to.
_GROUPING: Final = frozenset({"event_types", "group_by", "own_of"})


def create_rule(values: Mapping[str, Any], *, actor: Actor) -> Rule:
    """Make a rule of the fields of the model; `channels` are Channel rows. Raises Invalid and RuleNameTaken.

    It tells of what happens from now on.
    """
    channels = list(values.get("channels", ()))
    rule = Rule(**{name: value for name, value in values.items() if name != "channels"})
    check_rule(rule)
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
            rule.channels.set(channels)
            made = difference(NOTHING, snapshot(rule))
            record_changes([change_of(ChangeKind.CREATED, rule, actor=actor, what=made)])
    except IntegrityError as exc:
        raise _taken(rule.name) from exc
    return rule


def update_rule(rule: Rule, changes: Mapping[str, Any], *, actor: Actor) -> Rule:
    """Change fields; what stays the same is not written. Raises Invalid, RuleNameTaken and RuleUnknown.

    Alerts that are open stay so and are told by the rule as it is now; those that it does not ask for any more are
    closed, and nobody is told that they are over.
    """
    try:
        with transaction.atomic():
            stored = _locked(rule)
            before = snapshot(stored)
            for name, value in changes.items():
                if name != "channels":
                    setattr(stored, name, value)
            check_rule(stored)
            stored.save()
            if "channels" in changes:
                stored.channels.set(changes["channels"])
            if changed := difference(before, snapshot(stored)):
                record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
            _close_unasked(stored, changes)
    except IntegrityError as exc:
        raise _taken(str(changes.get("name", rule.name))) from exc
    return stored


@transaction.atomic
def delete_rule(rule: Rule, *, actor: Actor) -> None:
    """Its alerts go with it; what was sent stays in the ledger, and what is queued still goes out."""
    stored = _locked(rule)
    gone = change_of(ChangeKind.DELETED, stored, actor=actor, what=difference(snapshot(stored), NOTHING))
    stored.delete()
    record_changes([gone])


def check_rule(rule: Rule) -> None:
    """Raise Invalid where the rule cannot be. Its selector is put into its canonical form, and where it has quiet hours
    its time zone is named."""
    rule.name = rule.name.strip()
    if not rule.name:
        raise Invalid(_("A rule needs a name."), field="name")
    check_event_types(rule.event_types)
    check_scope(rule)
    _check_seconds(rule)
    _check_threshold(rule)
    _check_quiet(rule)


def _check_seconds(rule: Rule) -> None:
    for name in ("wait_s", "update_s"):
        if not 0 <= getattr(rule, name) <= SECONDS_MAX:
            raise Invalid(_("From 0 to %d seconds.") % SECONDS_MAX, field=name)
    if rule.repeat_s is not None and not REPEAT_MIN_S <= rule.repeat_s <= SECONDS_MAX:
        message = _("From %(min)d to %(max)d seconds.") % {"min": REPEAT_MIN_S, "max": SECONDS_MAX}
        raise Invalid(message, field="repeat_s")
    if not 1 <= rule.missed_start_grace_s <= GRACE_MAX_S:
        message = _("From %(min)d to %(max)d seconds.") % {"min": 1, "max": GRACE_MAX_S}
        raise Invalid(message, field="missed_start_grace_s")


def _check_threshold(rule: Rule) -> None:
    if not 1 <= rule.threshold_count <= THRESHOLD_MAX:
        raise Invalid(_("From 1 to %d events.") % THRESHOLD_MAX, field="threshold_count")
    if rule.threshold_count > 1 and rule.group_by == Rule.GroupBy.EVENT:
        raise Invalid(_("Each event alone cannot be several events; group them otherwise."), field="threshold_count")
    if not 1 <= rule.threshold_window_s <= SECONDS_MAX:
        message = _("From %(min)d to %(max)d seconds.") % {"min": 1, "max": SECONDS_MAX}
        raise Invalid(message, field="threshold_window_s")


def _check_quiet(rule: Rule) -> None:
    if (rule.quiet_from is None) != (rule.quiet_until is None):
        field = "quiet_until" if rule.quiet_until is None else "quiet_from"
        raise Invalid(_("Quiet hours have a beginning and an end."), field=field)
    check_zone(rule.quiet_time_zone, field="quiet_time_zone")
    if rule.quiet_from is None or rule.quiet_until is None:
        return
    check_weekdays(rule.quiet_weekdays, field="quiet_weekdays")
    rule.quiet_time_zone = rule.quiet_time_zone or settings.TIME_ZONE
    if is_endless(rule.quiet_from, rule.quiet_until, frozenset(rule.quiet_weekdays)):
        raise Invalid(_("These quiet hours never end; turn the rule off instead."), field="quiet_until")


def _locked(rule: Rule) -> Rule:
    stored = Rule.objects.select_for_update(no_key=True).filter(pk=rule.pk).first()
    if stored is None:
        raise RuleUnknown(_("The rule was deleted meanwhile."))
    return stored


def _close_unasked(rule: Rule, changes: Mapping[str, Any]) -> None:
    """Close alerts that the rule does not ask for any more. The next evaluation leaves alone what is closed, and one
    that runs just now and opens another finds it closed when it is due."""
    if rule.enabled and not changes.keys() & _GROUPING:
        return
    rows = Alert.objects.filter(rule=rule).exclude(status=Alert.Status.RESOLVED)
    if rule.enabled:
        rows = rows.exclude(event_type__in=rule.event_types)
    rows.update(status=Alert.Status.RESOLVED, resolved_at=timezone.now(), due_at=None)


def _taken(name: str) -> RuleNameTaken:
    return RuleNameTaken(_("A rule named %s exists already.") % name)
