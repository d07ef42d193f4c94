"""Saved groups: made, changed and deleted, each with an event that says what it was before and after."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from agents.labels import Selector, parse
from agents.models import Group
from agents.selectors.groups import get_group
from agents.services.errors import GroupNameTaken
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.clean import clean_text
from controlplane.common.errors import Invalid
from controlplane.common.snapshots import NOTHING, difference, snapshot

NAME_MAX_CHARS = 100
DESCRIPTION_MAX_CHARS = 2000


def checked_name(name: str) -> str:
    """The name without blanks around it. Raises Invalid: names stand in paths, and people read them to each other."""
    name = name.strip()
    if not name:
        raise Invalid(_("A group needs a name."), field="name")
    if len(name) > NAME_MAX_CHARS:
        message = _("The name of a group has %(max)d characters at most; this one has %(count)d.")
        raise Invalid(message % {"max": NAME_MAX_CHARS, "count": len(name)}, field="name")
    if "/" in name or not name.isprintable():
        raise Invalid(_("The name of a group holds no “/” and nothing invisible."), field="name")
    return name


def checked_selector(selector: Selector | str) -> str:
    """The canonical text. Raises SelectorInvalid, or Invalid where it would match every instance there is."""
    found = parse(selector) if isinstance(selector, str) else selector
    if not found:
        raise Invalid(
            _("An empty selector matches every instance. To mean all of a kind, say so: portal/dialect=onestep"),
            field="selector",
        )
    return str(found)


def checked_description(description: str) -> str:
    description = description.strip()
    if clean_text(description) != description:
        raise Invalid(
            _("The description holds what cannot be stored: NUL or half a surrogate pair."), field="description"
        )
    if len(description) > DESCRIPTION_MAX_CHARS:
        message = _("The description may have %d characters at most.") % DESCRIPTION_MAX_CHARS
        raise Invalid(message, field="description")
    return description


_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "name": checked_name,
    "selector": checked_selector,
    "description": checked_description,
}


def create_group(*, name: str, selector: Selector | str, description: str = "", actor: Actor) -> Group:
    """Make a group. Raises Invalid (SelectorInvalid among them), or GroupNameTaken."""
    group = Group(
        name=checked_name(name),
        selector=checked_selector(selector),
        description=checked_description(description),
        created_by_name=actor.name,
    )
    try:
        with transaction.atomic():
            group.save(force_insert=True)
            made = difference(NOTHING, snapshot(group))
            record_changes([change_of(ChangeKind.CREATED, group, actor=actor, what=made)])
    except IntegrityError as exc:
        raise _taken(group.name) from exc
    return group


def change_group(name: str, changes: Mapping[str, Selector | str], *, actor: Actor) -> Group:
    """Change `name`, `selector` or `description` of the group of this name; what stays the same is not written.

    Raises Invalid, GroupUnknown or GroupNameTaken. Fan-outs of the past keep the name and the selector that they had.
    """
    checked = {field: _CHECKS[field](value) for field, value in changes.items()}
    try:
        with transaction.atomic():
            group = get_group(name, rows=Group.objects.select_for_update(no_key=True))
            before = snapshot(group)
            for field, value in checked.items():
                setattr(group, field, value)
            if changed := difference(before, snapshot(group)):
                group.save(update_fields=[*checked, "updated_at"])
                record_changes([change_of(ChangeKind.CHANGED, group, actor=actor, what=changed)])
    except IntegrityError as exc:
        raise _taken(checked["name"]) from exc
    return group


@transaction.atomic
def delete_group(name: str, *, actor: Actor) -> Group:
    """Delete a group, and return what it was; its instances stay as they are. Raises GroupUnknown."""
    group = get_group(name, rows=Group.objects.select_for_update())
    gone = change_of(ChangeKind.DELETED, group, actor=actor, what=difference(snapshot(group), NOTHING))
    Group.objects.filter(pk=group.pk).delete()
    record_changes([gone])
    return group


def _taken(name: str) -> GroupNameTaken:
    return GroupNameTaken(_("A group named %s exists already.") % name)
