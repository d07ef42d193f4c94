"""Silences: made, changed and ended, each with an event that says so."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, difference, snapshot
from notifications.errors import SilenceBegun, SilenceOver, SilenceUnknown
from notifications.models import AlertMember, Silence
from notifications.services.checks import check_event_types, check_scope, check_weekdays, check_zone

# A round ends before the next one of the same weekday begins.
DURATION_MAX_MIN: Final = 7 * 24 * 60


@transaction.atomic
def create_silence(values: Mapping[str, Any], *, actor: Actor) -> Silence:
    """Make a silence of the fields of the model. Raises Invalid."""
    silence = Silence(**values, created_by_id=actor.user_id, created_by_name=actor.name)
    check_silence(silence)
    silence.save(force_insert=True)
    made = difference(NOTHING, snapshot(silence))
    record_changes([change_of(ChangeKind.CREATED, silence, actor=actor, what=made)])
    return silence


@transaction.atomic
def update_silence(silence: Silence, changes: Mapping[str, Any], *, actor: Actor) -> Silence:
    """Change fields of one that is not over. Raises Invalid, SilenceOver and SilenceUnknown.

    What goes on in its new scope is quiet from now on; what it kept quiet stays so until it ends.
    """
    stored = _locked(silence)
    if is_over(stored):
        raise SilenceOver(_("It has ended already; make a new one."))
    before = snapshot(stored)
    for name, value in changes.items():
        setattr(stored, name, value)
    check_silence(stored)
    if changed := difference(before, snapshot(stored)):
        stored.applied_at = None
        stored.save()
        record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    return stored


@transaction.atomic
def end_silence(silence: Silence, *, actor: Actor) -> Silence:
    """End it at once, for ever: what is still broken is told with the next evaluation. Raises SilenceOver."""
    stored = _locked(silence)
    if is_over(stored):
        raise SilenceOver(_("It has ended already."))
    before = snapshot(stored)
    now = timezone.now()
    stored.cancelled_at = now
    stored.ends_at = max(now, stored.starts_at) if stored.ends_at is None else min(stored.ends_at, now)
    if stored.starts_at > now:
        # It kept nothing quiet, and there is nothing to tell at its end.
        stored.told_until = now
    stored.save()
    changed = difference(before, snapshot(stored))
    record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    return stored


@transaction.atomic
def delete_silence(silence: Silence, *, actor: Actor) -> None:
    """Delete one that has kept nothing quiet yet. Raises SilenceBegun; those are ended, and stay in history."""
    stored = _locked(silence)
    if stored.applied_at is not None or AlertMember.objects.filter(silence=stored).exists():
        raise SilenceBegun(_("It has begun: end it instead, so that what is still broken is told."))
    gone = change_of(ChangeKind.DELETED, stored, actor=actor, what=difference(snapshot(stored), NOTHING))
    stored.delete()
    record_changes([gone])


def is_over(silence: Silence) -> bool:
    """Whether no round of it begins any more. The last round of one that recurs may go on."""
    return silence.cancelled_at is not None or (silence.ends_at is not None and silence.ends_at <= timezone.now())


def check_silence(silence: Silence) -> None:
    """Raise Invalid where the silence cannot be. Its selector is put into its canonical form, and where it recurs its
    time zone is named."""
    silence.reason = silence.reason.strip()
    if not silence.reason:
        raise Invalid(_("Say why."), field="reason")
    check_scope(silence)
    check_event_types(silence.event_types)
    check_zone(silence.time_zone, field="time_zone")
    if silence.ends_at is not None and silence.ends_at <= silence.starts_at:
        raise Invalid(_("It has to end after it begins."), field="ends_at")
    if silence.recurs:
        _check_recurring(silence)
    elif silence.ends_at is None:
        raise Invalid(_("Say when it ends."), field="ends_at")
    elif silence.weekdays or silence.duration_min:
        raise Invalid(_("Say at which time of the day it begins."), field="start_time")


def _check_recurring(silence: Silence) -> None:
    if not silence.weekdays:
        raise Invalid(_("Choose a weekday."), field="weekdays")
    check_weekdays(silence.weekdays, field="weekdays")
    if not silence.duration_min:
        raise Invalid(_("Say how long it lasts."), field="duration_min")
    if silence.duration_min > DURATION_MAX_MIN:
        raise Invalid(_("A week at most."), field="duration_min")
    silence.time_zone = silence.time_zone or settings.TIME_ZONE


def _locked(silence: Silence) -> Silence:
    stored = Silence.objects.select_for_update(no_key=True).filter(pk=silence.pk).first()
    if stored is None:
        raise SilenceUnknown(_("The silence was deleted meanwhile."))
    return stored
