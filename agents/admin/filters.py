"""List filters whose choices the database does not have to be asked for."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from agents.labels import Selector, SelectorInvalid, parse
from agents.models.command import CommandKind
from agents.selectors.facts import TEXT_MAX, WORDS_MIN, FactInvalid, mentioning_q, parse_fact, with_fact
from agents.selectors.groups import GroupUnknown, groups, selector_of
from agents.selectors.instances import ARCHIVED, Archived, archived_q
from agents.selectors.labels import matches_q, of_matching
from controlplane.common.clean import clean_text

# More would not be found in a list to choose from.
GROUPS_OFFERED = 500


class KindFilter(DropdownFilter):  # type: ignore[misc]
    """Commands of one kind."""

    title = _("command")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(CommandKind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class ArchivedFilter(DropdownFilter):  # type: ignore[misc]
    """Without the archived rows unless they are asked for."""

    title = _("archive")
    parameter_name = "archived"
    all_option = ("", _("Not archived"))
    # What leads from a row to what is archived.
    path = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("true", _("Archived")), ("all", _("All"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen: Archived = next((each for each in ARCHIVED if each == self.value()), "false")
        return queryset.filter(*archived_q(chosen, self.path))


class FactFilter(TextFilter):  # type: ignore[misc]
    """Instances with a fact, written as path=value."""

    title = _("fact (path=value)")
    parameter_name = "fact"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = _written(self.value())
        if not text:
            return queryset
        if len(text) > TEXT_MAX:
            messages.error(request, gettext("A fact to look for has %d characters at most.") % TEXT_MAX)
            return queryset.none()
        try:
            return queryset.filter(with_fact(parse_fact(text)))
        except FactInvalid as error:
            messages.error(request, str(error))
            return queryset.none()


class FactWordsFilter(TextFilter):  # type: ignore[misc]
    """Instances of whose facts some name or value holds a text; reads all facts."""

    title = _("words in facts")
    parameter_name = "facts"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = _written(self.value())
        if not text:
            return queryset
        if not WORDS_MIN <= len(text) <= TEXT_MAX:
            limits = {"least": WORDS_MIN, "most": TEXT_MAX}
            messages.error(request, gettext("Words in facts have %(least)d to %(most)d characters.") % limits)
            return queryset.none()
        return queryset.filter(mentioning_q(text))


def _written(value: str | None) -> str:
    """What was written into a text filter, without what no database takes."""
    return clean_text(value or "").strip()


class SelectorFilter(TextFilter):  # type: ignore[misc]
    """Instances that a selector means."""

    title = _("selector")
    parameter_name = "selector"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value()
        if not text:
            return queryset
        try:
            return self.narrowed(queryset, parse(text))
        except SelectorInvalid as error:
            messages.error(request, str(error))
            return queryset.none()

    def narrowed(self, queryset: QuerySet[Any], selector: Selector) -> QuerySet[Any]:
        return queryset.filter(matches_q(selector))


class GroupFilter(DropdownFilter):  # type: ignore[misc]
    """Instances of one saved group."""

    title = _("group of instances")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in groups().values_list("name", flat=True)[:GROUPS_OFFERED]]

    def has_output(self) -> bool:
        """Also where there is none to choose: a name in the address must not be passed over."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name:
            return queryset
        try:
            return self.narrowed(queryset, selector_of(str(name)))
        except GroupUnknown as error:
            messages.error(request, str(error))
            return queryset.none()

    def narrowed(self, queryset: QuerySet[Any], selector: Selector) -> QuerySet[Any]:
        return queryset.filter(matches_q(selector))


class OfInstanceMixin:
    """Narrows rows by the instance that they are of; those of none are left out."""

    def narrowed(self, queryset: QuerySet[Any], selector: Selector) -> QuerySet[Any]:
        return queryset.filter(of_matching(selector))


class SelectorOfInstanceFilter(OfInstanceMixin, SelectorFilter):
    """What is of instances that a selector means."""

    title = _("selector of instances")


class GroupOfInstanceFilter(OfInstanceMixin, GroupFilter):
    """What is of instances of one saved group."""
