"""Silences: made, changed and ended. STAND-IN: to be replaced at merge."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from agents.labels import parse
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, difference, snapshot
from notifications.errors import SilenceOver
from notifications.models import EventType, Silence


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
    """Change fields of one that is not over. Raises Invalid and SilenceOver."""
    stored = Silence.objects.select_for_update(no_key=True).get(pk=silence.pk)
    if is_over(stored):
        raise SilenceOver(_("It has ended already; make a new one."))
    before = snapshot(stored)
    for name, value in changes.items():
        setattr(stored, name, value)
    check_silence(stored)
    if changed := difference(before, snapshot(stored)):
        stored.save()
        record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    return stored


@transaction.atomic
def end_silence(silence: Silence, *, actor: Actor) -> Silence:
    """End it at once, for ever. Raises SilenceOver."""
    stored = Silence.objects.select_for_update(no_key=True).get(pk=silence.pk)
    if is_over(stored):
        raise SilenceOver(_("It has ended already."))
    before = snapshot(stored)
    now = timezone.now()
    stored.cancelled_at = now
    stored.ends_at = max(now, stored.starts_at) if stored.ends_at is None else min(stored.ends_at, now)
    stored.save()
    changed = difference(before, snapshot(stored))
    record_changes([change_of(ChangeKind.CHANGED, stored, actor=actor, what=changed)])
    return stored


def is_over(silence: Silence) -> bool:
    return silence.cancelled_at is not None or (silence.ends_at is not None and silence.ends_at <= timezone.now())


def check_silence(silence: Silence) -> None:
    """Raise Invalid where the silence cannot be; its selector is put into its canonical form."""
    if not silence.reason.strip():
        raise Invalid(_("Say why."), field="reason")
    silence.selector = str(parse(silence.selector)) if silence.selector.strip() else ""
    for each in silence.event_types:
        if each not in EventType.values:
            raise Invalid(_("There is no event type %s.") % each, field="event_types")
    if silence.ends_at is not None and silence.ends_at <= silence.starts_at:
        raise Invalid(_("It has to end after it begins."), field="ends_at")
    if silence.recurs:
        if not silence.weekdays:
            raise Invalid(_("Choose a weekday."), field="weekdays")
        if not silence.duration_min:
            raise Invalid(_("Say how long it lasts."), field="duration_min")
    elif silence.ends_at is None:
        raise Invalid(_("Say when it ends."), field="ends_at")
