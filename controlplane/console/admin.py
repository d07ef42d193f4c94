"""Bases of the console's admin pages: read-only lists with bounded counting, and pages instead of change forms."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache, update_wrapper, wraps
from typing import Any, ClassVar, Literal
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets, display
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import checkbox
from unfold.contrib.filters.admin import DropdownFilter

from controlplane.access.policy import logged_in_recently
from controlplane.common.errors import ControlPlaneError, Unauthorized
from controlplane.console.auditing import AuditedAdmin

__all__ = [
    "HTMX_STOP_POLLING",
    "BoundedPaginator",
    "CheapChangeList",
    "HistoryAdmin",
    "ModelAdmin",
    "PageAdmin",
    "ReadOnlyAdmin",
    "RecentFilter",
    "after_recent_login",
    "redirect_to_login_again",
    "report",
]

# Tells htmx to swap this answer in and to poll no more.
HTMX_STOP_POLLING = 286


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNT_MAX, so that a page costs the same however long the history is."""

    COUNT_MAX = 10_000

    @cached_property
    def count(self) -> int:
        rows: models.QuerySet[Any] = self.object_list  # type: ignore[assignment]
        # In no order: to sort what is only counted would read all of it.
        return rows.order_by()[: self.COUNT_MAX].count()


class CheapChangeList(ChangeList):
    """The list of Django without the links of a date hierarchy, for which it reads the whole table."""

    def __init__(self, request: HttpRequest, model: type[models.Model], *args: Any, **kwargs: Any) -> None:
        self._query_strings: dict[str, str] = {}
        super().__init__(request, model, *args, **kwargs)
        self.date_hierarchy = None

    def get_results(self, request: HttpRequest) -> None:
        """Of what nothing was counted nothing is read: a search in vain would take twice as long."""
        super().get_results(request)
        if not self.result_count:
            self.result_list = self.queryset.none()

    # The headers of the table, with three addresses for each column, are made anew for each row: half a page's time.

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        # Values of parameters may be lists.
        key = repr((new_params, remove))
        if key not in self._query_strings:
            self._query_strings[key] = super().get_query_string(new_params, remove)
        return self._query_strings[key]

    def get_ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        return self._ordering_field_columns

    @cached_property
    def _ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        return super().get_ordering_field_columns()


class RecentFilter(DropdownFilter):  # type: ignore[misc]
    """Rows of the last while, by the time that an admin names as its date hierarchy.

    The hierarchy itself would read every row of the table for its links.
    """

    title = _("time")
    parameter_name = "since"
    AGES: ClassVar = {
        "1h": (timedelta(hours=1), _("Last hour")),
        "1d": (timedelta(days=1), _("Last 24 hours")),
        "7d": (timedelta(days=7), _("Last 7 days")),
        "30d": (timedelta(days=30), _("Last 30 days")),
    }

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.moment: str = model_admin.date_hierarchy
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(key, words) for key, (_age, words) in self.AGES.items()]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        age, _words = self.AGES.get(str(self.value()), (None, ""))
        return queryset.filter(**{f"{self.moment}__gte": timezone.now() - age}) if age else queryset


class ModelAdmin(AuditedAdmin):
    """The base of every admin of the portal: no list of it costs more the longer its table is."""

    paginator = BoundedPaginator
    # Django would count all rows besides those that match.
    show_full_result_count = False
    # Counts next to filters would cost a scan of the table each.
    show_facets = ShowFacets.NEVER
    change_list_template = "admin/console/change_list.html"
    list_after_template = "admin/console/bounded.html"
    has_saved_views = False

    @display(description=AuditedAdmin.action_checkbox.short_description)  # type: ignore[attr-defined]
    def action_checkbox(self, obj: models.Model) -> SafeString:
        """What unfold makes, without rendering a template for each row."""
        before, after = _around_the_key(get_language())
        return format_html("{}{}{}", before, obj.pk, after)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CheapChangeList

    def get_list_filter(self, request: HttpRequest) -> Any:
        """With a choice of times first, where the admin names one."""
        filters = super().get_list_filter(request)
        return (RecentFilter, *filters) if self.date_hierarchy else filters


@lru_cache
def _around_the_key(language: str | None) -> tuple[SafeString, SafeString]:  # noqa: ARG001 -- its words are in it
    """The checkbox of a row, before and after the key of the row."""
    before, after = str(checkbox.render(ACTION_CHECKBOX_NAME, "KEY")).split("KEY")
    return mark_safe(before), mark_safe(after)  # noqa: S308 -- a widget of unfold


class ReadOnlyAdmin(ModelAdmin):
    """A list of rows that agents or the portal itself write: nothing is added, changed or deleted by hand."""

    # Half of what a page costs are its rows.
    list_per_page = 30
    list_max_show_all = 200
    list_fullwidth = True
    list_filter_submit = True
    has_saved_views = True
    # Ids on the wire are this and 32 hex digits; searching for one finds its row.
    public_id_prefix = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        key = self._id_of(search_term)
        if key is not None:
            return queryset.filter(pk=key), False
        return super().get_search_results(request, queryset, search_term.strip())

    def _id_of(self, search_term: str) -> UUID | None:
        """The id that somebody seeks; None where it is another text, or rows have no such ids."""
        if not isinstance(self.opts.pk, models.UUIDField):
            return None
        try:
            return UUID(search_term.strip().removeprefix(self.public_id_prefix))
        except ValueError:
            return None


class HistoryAdmin(ReadOnlyAdmin):
    """A read-only list that grows for ever: sorted by what an index serves, and searched among its newest rows."""

    # No index knows a part of a text: without a bound, a search reads the whole table.
    SEARCHED_MAX = 20_000
    search_help_text = _("Text in the newest 20,000 rows, or an id")

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """The columns with an ordering that an index begins with."""
        served = {self.opts.pk.name, *_leading_columns(self.opts)}
        orderings = {name: self._ordering_of(name) for name in self.get_list_display(request) if isinstance(name, str)}
        return [name for name, ordering in orderings.items() if ordering.removeprefix("-") in served]

    def _ordering_of(self, name: str) -> str:
        column = getattr(self, name, None)
        return str(getattr(column, "admin_order_field", "") or "") if column is not None else name

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        is_bounded = request.GET.get(RecentFilter.parameter_name) in RecentFilter.AGES
        if is_bounded or self._id_of(search_term) is not None or not search_term.strip():
            return found, may_repeat
        # A range of the index by which the list is ordered; asked for by their keys, all rows would be read.
        column = str((self.ordering or self.opts.ordering or ("pk",))[0]).removeprefix("-")
        newest = self.model._default_manager.order_by(f"-{column}").values_list(column, flat=True)  # noqa: SLF001 -- public in all but name
        oldest = newest[self.SEARCHED_MAX : self.SEARCHED_MAX + 1].first()
        return (found if oldest is None else found.filter(**{f"{column}__gte": oldest})), may_repeat


def _leading_columns(opts: Any) -> set[str]:
    """The columns that an index of a model begins with."""
    indexes = [index.fields_orders[0][0] for index in opts.indexes if index.fields_orders and index.condition is None]
    unique = [each.fields[0] for each in opts.constraints if getattr(each, "fields", ())]
    own = [field.name for field in opts.fields if field.unique or field.db_index]
    return {*indexes, *unique, *own, *(name.removeprefix("-") for name in opts.ordering[:1])}


class PageAdmin(ReadOnlyAdmin):
    """Shows one row as a page of its own (`page_template`) instead of a change form."""

    page_template: ClassVar[str]

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, object]:
        """What the page shows besides `object`."""
        raise NotImplementedError

    def get_page_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Where the page finds its row; without the annotations that only the list needs."""
        rows: models.QuerySet[Any] = self.model._default_manager.all()  # noqa: SLF001 -- public in all but name
        return rows

    def get_page_object(self, request: HttpRequest, object_id: str) -> Any:
        """The row that the requester may see. Raises PermissionDenied, and Http404 where there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_page_queryset(request).filter(pk=unquote(object_id)).first()
        except (ValueError, ValidationError):
            found = None
        if found is None:
            raise Http404(gettext("There is no such %s.") % self.opts.verbose_name)
        return found

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.render_page(request, self.get_page_object(request, object_id), **(extra_context or {}))

    def render_page(
        self, request: HttpRequest, obj: Any, *, template: str = "", status: int = 200, **extra: object
    ) -> TemplateResponse:
        """The page of `obj`, or another template with the same context when `template` names one."""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "object": obj,
            "title": str(obj),
            "model_admin": self,
            "is_fullwidth": "1",
            **self.page_context(request, obj),
            **extra,
        }
        return TemplateResponse(request, template or self.page_template, context, status=status)

    def get_page_urls(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """More views below a row, as (last part of the path, end of the view's name, method)."""
        return []

    def get_urls(self) -> list[URLPattern]:
        def wrap(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
            def wrapper(*args: object, **kwargs: object) -> HttpResponse:
                return self.admin_site.admin_view(view)(*args, **kwargs)

            return update_wrapper(wrapper, view)

        base = f"{self.opts.app_label}_{self.opts.model_name}"
        mine = [
            path(f"<path:object_id>/{last}/", wrap(view), name=f"{base}_{name}")
            for last, name, view in self.get_page_urls()
        ]
        return mine + super().get_urls()


def report(request: HttpRequest, error: ControlPlaneError, *, next_url: str) -> HttpResponseRedirect:
    """Answer a refused act: to the login again where that would help, else back with the reason as a message."""
    if isinstance(error, Unauthorized):
        return redirect_to_login_again(next_url)
    messages.error(request, str(error))
    return HttpResponseRedirect(next_url)


def after_recent_login(
    *methods: str,
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """For a view of an admin that makes or gives rights: with these methods it asks for the password again where the
    login is old, and leads back. A session that somebody left open, or stole, is to make no rights that outlive it."""

    def guard(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def guarded(self: ModelAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method in methods and not logged_in_recently(request):
                return redirect_to_login_again(request.get_full_path())
            return view(self, request, *args, **kwargs)

        return guarded

    return guard


def redirect_to_login_again(next_url: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse('login_again')}?{urlencode({'next': next_url})}")
