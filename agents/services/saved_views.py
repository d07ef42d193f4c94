"""Saved views of lists: made, changed and deleted, each with an event that says so."""

from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils.translation import gettext as _

from agents.models import SavedView
from controlplane.common.actors import Actor
from controlplane.common.changes import ChangeKind, change_of, record_changes
from controlplane.common.clean import clean_text
from controlplane.common.errors import Conflict, Forbidden, Invalid, NotFound
from controlplane.common.snapshots import NOTHING, difference, snapshot

NAME_MAX_CHARS = 100
QUERY_MAX_CHARS = 4000
VIEWS_OF_PERSON_MAX = 200
# Where in a list one was, and not what was listed.
_PLACES = frozenset({"p", "before", "after", "all", "e", "_popup", "csrfmiddlewaretoken"})


class ViewOfAnother(Forbidden):
    """Somebody else made this view and shares it."""

    code = "view_of_another"


def save_view(*, list_name: str, name: str, query: str, is_shared: bool, owner: User, actor: Actor) -> SavedView:
    """Keep the filters of a list under a name. Raises Invalid, or Conflict where the owner has one of that name."""
    view = SavedView(
        list_name=list_name, name=_checked_name(name), query=_checked_query(query), is_shared=is_shared, owner=owner
    )
    if SavedView.objects.filter(owner=owner).count() >= VIEWS_OF_PERSON_MAX:
        raise Invalid(_("You have %d saved views; delete some first.") % VIEWS_OF_PERSON_MAX)
    try:
        with transaction.atomic():
            view.save(force_insert=True)
            what = difference(NOTHING, snapshot(view))
            record_changes([change_of(ChangeKind.CREATED, view, actor=actor, what=what)])
    except IntegrityError as exc:
        raise _taken(view.name) from exc
    return view


def change_view(view_id: int, *, name: str, is_shared: bool, person: User, actor: Actor) -> SavedView:
    """Rename a view, share it or keep it to oneself. Raises Invalid, Conflict, NotFound or ViewOfAnother."""
    checked = _checked_name(name)
    try:
        with transaction.atomic():
            view = _own(view_id, person)
            before = snapshot(view)
            view.name, view.is_shared = checked, is_shared
            if changed := difference(before, snapshot(view)):
                view.save(update_fields=["name", "is_shared", "updated_at"])
                record_changes([change_of(ChangeKind.CHANGED, view, actor=actor, what=changed)])
    except IntegrityError as exc:
        raise _taken(checked) from exc
    return view


@transaction.atomic
def delete_view(view_id: int, *, person: User, actor: Actor) -> SavedView:
    """Delete a view; returns what it was. Raises NotFound or ViewOfAnother."""
    view = _own(view_id, person)
    gone = change_of(ChangeKind.DELETED, view, actor=actor, what=difference(snapshot(view), NOTHING))
    SavedView.objects.filter(pk=view.pk).delete()
    record_changes([gone])
    return view


def _own(view_id: int, person: User) -> SavedView:
    """The view, locked, if this person may change it: its owner, or a superuser where it is shared."""
    view = SavedView.objects.select_for_update(of=("self",)).select_related("owner").filter(pk=view_id).first()
    may_see = view is not None and (view.owner_id == person.pk or view.is_shared)
    if view is None or not may_see:
        raise NotFound(_("There is no such saved view."), code="view_not_found")
    if view.owner_id != person.pk and not person.is_superuser:
        raise ViewOfAnother(_("Only %s may change this view.") % view.owner.get_username())
    return view


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise Invalid(_("A saved view needs a name."), field="name")
    if len(name) > NAME_MAX_CHARS:
        raise Invalid(_("The name of a view has %d characters at most.") % NAME_MAX_CHARS, field="name")
    if clean_text(name) != name or not name.isprintable():
        raise Invalid(_("The name of a view holds nothing invisible."), field="name")
    return name


def _checked_query(query: str) -> str:
    """The filters alone, in a fixed order, without the place in the list. Raises Invalid."""
    text = urlsplit(f"?{query.removeprefix('?')}").query
    given = QueryDict(clean_text(text))
    kept = QueryDict(mutable=True)
    for name in sorted(given):
        values = [value for value in given.getlist(name) if value]
        if name not in _PLACES and values:
            kept.setlist(name, values)
    written = kept.urlencode()
    if len(written) > QUERY_MAX_CHARS:
        raise Invalid(_("These filters are too long to save."), field="query")
    return written


def _taken(name: str) -> Conflict:
    return Conflict(_("You have a view named %s already.") % name, code="view_name_taken")
