"""The base of every admin: what is added, changed and deleted on the console becomes history, in its own transaction.

Django's log entries would be a second history, so none is written.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib.admin.utils import NestedObjects, unquote
from django.core.exceptions import PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from controlplane.access.actors import actor_of
from controlplane.common.changes import ChangeKind, change_of, record_changes, subject_of
from controlplane.common.snapshots import NOTHING, Difference, Snapshot, difference, snapshot
from controlplane.console.formatting import admin_url

if TYPE_CHECKING:
    # unfold comes without types; its ModelAdmin is Django's with more options.
    from django.contrib.admin import ModelAdmin as BaseAdmin
else:
    from unfold.admin import ModelAdmin as BaseAdmin

_BEFORE_ATTRIBUTE = "_audited_before"
_Key: TypeAlias = tuple[str, object]


class AuditedAdmin(BaseAdmin):  # type: ignore[type-arg]
    """Writes each change that is made through it as an event: who, from where, before and after.

    An action that changes rows by itself does so within `changes_recorded`, unless the service it calls has an event
    of its own.
    """

    change_form_outer_after_template = "admin/console/changes_of_form.html"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            self.remember_before(request, obj.pk)
        super().save_model(request, obj, form, change)

    def remember_before(self, request: HttpRequest, pk: object) -> None:
        """Keep what the row holds until `log_change` says how it ended up; nobody else changes it meanwhile."""
        stored = self._rows().select_for_update(no_key=True).get(pk=pk)
        _before(request)[(self.opts.label, stored.pk)] = snapshot(stored)

    def _stored(self, pk: object) -> models.Model:
        """The row as the database has it: what came by the form may look otherwise."""
        row: models.Model = self._rows().get(pk=pk)
        return row

    def _rows(self) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = self.model._base_manager.all()  # noqa: SLF001 -- public in all but name
        return rows

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        made = difference(NOTHING, snapshot(self._stored(obj.pk)))
        record_changes([change_of(ChangeKind.CREATED, obj, actor=actor_of(request), what=made)])

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        before = _before(request).pop((self.opts.label, obj.pk), None)
        changed = Difference() if before is None else difference(before, snapshot(self._stored(obj.pk)))
        if changed or before is None:
            record_changes([change_of(ChangeKind.CHANGED, obj, actor=actor_of(request), what=changed)])

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> list[Any]:
        """Nothing: the deletion itself writes what it takes along, in one transaction with it."""
        return []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self._record_deletions(request, [obj])
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        with transaction.atomic():
            self._record_deletions(request, list(queryset))
            super().delete_queryset(request, queryset)

    def _record_deletions(self, request: HttpRequest, rows: list[Any]) -> None:
        """Of the rows, and of those that go with them and that the console knows."""
        collector = NestedObjects(using=router.db_for_write(self.model))
        collector.collect(rows)
        actor = actor_of(request)
        record_changes(
            [
                change_of(ChangeKind.DELETED, row, actor=actor, what=difference(snapshot(row), NOTHING))
                for model, found in collector.data.items()
                if self.admin_site.is_registered(model)
                for row in found
            ]
        )

    @contextmanager
    def changes_recorded(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Iterator[None]:
        """Write what the block changes in these rows as events; both stand or fall together."""
        with transaction.atomic():
            locked = self._rows().select_for_update(no_key=True).filter(pk__in=queryset.order_by().values("pk"))
            before = {row.pk: snapshot(row) for row in locked}
            yield
            actor = actor_of(request)
            changed = [(row, difference(before[row.pk], snapshot(row))) for row in self._rows().filter(pk__in=before)]
            record_changes(
                [change_of(ChangeKind.CHANGED, row, actor=actor, what=what) for row, what in changed if what]
            )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The events of the row: there is no other history."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        if row is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
            return missing
        return HttpResponseRedirect(admin_url("agents_event_changelist", subject=subject_of(row)))


def _before(request: HttpRequest) -> dict[_Key, Snapshot]:
    """What rows held before this request changed them."""
    if not hasattr(request, _BEFORE_ATTRIBUTE):
        setattr(request, _BEFORE_ATTRIBUTE, {})
    kept: dict[_Key, Snapshot] = getattr(request, _BEFORE_ATTRIBUTE)
    return kept
