"""Saved groups: selectors with a name."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.selecting import SelectorField
from agents.api.serializers import optional_text
from agents.labels import parse
from agents.models import Group
from agents.selectors.groups import get_group, groups, member_counts
from agents.services.groups import DESCRIPTION_MAX_CHARS, NAME_MAX_CHARS, change_group, create_group, delete_group
from controlplane.access.actors import actor_of
from controlplane.common.errors import Forbidden
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.fields import BodySerializer, TextField, TimestampField
from controlplane.common.rest.filters import NAME_MAX, ApiFilter, Filters, exactly
from controlplane.common.rest.sparse import SparseSerializer, names_of, sparse
from controlplane.common.rest.views import endpoint

COUNT = "instance_count"


class GroupSerializer(SparseSerializer):
    """The context's `counts` maps the number of a group to how many instances belong to it."""

    name = serializers.CharField()
    selector = serializers.CharField(help_text="In canonical form.")
    selector_json = serializers.SerializerMethodField(help_text="The same as `match_labels` and `match_expressions`.")
    description = optional_text()
    created_by = optional_text(source="created_by_name")
    created_at = TimestampField()
    updated_at = TimestampField()
    instance_count = serializers.SerializerMethodField(
        help_text="How many instances belong to it now. In lists it is there only where `fields` names it."
    )

    def get_selector_json(self, group: Group) -> dict[str, Any]:
        return parse(group.selector).as_json()

    def get_instance_count(self, group: Group) -> int:
        return int(self.context["counts"][group.pk])


class GroupFilters(Filters):
    q = ApiFilter(
        TextField(required=False, allow_blank=True, max_length=NAME_MAX, help_text="Sought in names, in any case."),
        exactly("name__icontains"),
    )


def _counts(view: FleetView, rows: Sequence[Group], wanted: Sequence[str]) -> Mapping[str, Any]:
    is_wanted = not wanted or COUNT in wanted
    return {"counts": member_counts(rows, environments=view.environments) if is_wanted else {}}


GROUPS: Collection[Group] = Collection(
    name="groups",
    item=GroupSerializer,
    filters=GroupFilters,
    orderings={"name": ("name",), "created_at": ("created_at", "id")},
    default="name",
    on_demand=frozenset({COUNT}),
    context_of=_counts,
)


class GroupChangesBody(BodySerializer):
    """What is left out stays as it is."""

    name = TextField(required=False, max_length=NAME_MAX_CHARS)
    selector = SelectorField(required=False)
    description = TextField(required=False, allow_blank=True, max_length=DESCRIPTION_MAX_CHARS)


class GroupBody(BodySerializer):
    name = TextField(max_length=NAME_MAX_CHARS)
    selector = SelectorField()
    description = TextField(default="", allow_blank=True, max_length=DESCRIPTION_MAX_CHARS)


def _answer(view: FleetView, group: Group) -> Response:
    return detail(view, GroupSerializer, group, _counts(view, [group], view.query.get("fields", ())))


def _ensure_whole_fleet(view: FleetView) -> None:
    """Raises Forbidden for a token that is narrowed to environments: groups belong to all of them."""
    if view.environments is not None:
        raise Forbidden(
            "This token is narrowed to environments, and a group says for all of them who belongs to it: it may read "
            "groups, and only a token for every environment may make, change and delete them."
        )


class GroupsView(FleetView):
    @endpoint("Saved groups", query=GROUPS.query, responds=GROUPS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return GROUPS.answer(self, groups())

    @endpoint(
        "Save a group",
        body=GroupBody,
        responds=GroupSerializer,
        refusals=(409,),
        example={"name": "canary", "selector": "env=prod,canary", "description": "They get each release first."},
    )
    def post(self) -> HttpResponseBase:
        """A group is a selector with a name: who belongs to it is asked anew each time it is used."""
        _ensure_whole_fleet(self)
        return _answer(self, create_group(**self.body, actor=actor_of(self.request)))


class GroupView(FleetView):
    @endpoint(
        "One saved group",
        query=detail_query(GroupSerializer),
        responds=GroupSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        return _answer(self, get_group(self.params["group_name"]))

    @endpoint(
        "Replace a group",
        body=GroupBody,
        responds=GroupSerializer,
        refusals=(404, 409),
        example={"name": "canary-eu", "selector": "env=prod,canary=1,region=eu"},
    )
    def put(self) -> HttpResponseBase:
        return self._changed()

    @endpoint(
        "Change a group",
        body=GroupChangesBody,
        responds=GroupSerializer,
        refusals=(404, 409),
        example={"selector": "env=prod,canary=1"},
    )
    def patch(self) -> HttpResponseBase:
        """Fan-outs that were given to it keep the name and the selector that it had."""
        return self._changed()

    def _changed(self) -> HttpResponseBase:
        _ensure_whole_fleet(self)
        return _answer(self, change_group(self.params["group_name"], self.body, actor=actor_of(self.request)))

    @endpoint("Delete a group", responds=GroupSerializer, refusals=(404,))
    def delete(self) -> HttpResponseBase:
        """Answers what it was. Its instances stay as they are; fan-outs that were given to it keep its name."""
        _ensure_whole_fleet(self)
        gone = delete_group(self.params["group_name"], actor=actor_of(self.request))
        told = [name for name in names_of(GroupSerializer) if name != COUNT]
        return Response(sparse(GroupSerializer, told, gone).data)
