"""Everything of an instance or a service as a file, and having it forgotten for good."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.db.models import Model, Q, QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from agents.api.fleet import FleetView
from agents.api.queries import ServiceQuery
from agents.api.serializers import optional_text, optional_time
from agents.models import Removal
from agents.selectors.instances import get_instance
from agents.selectors.removals import get_removal, removals
from agents.services.forgetting import forget_instance, forget_service
from controlplane.access.actors import actor_of
from controlplane.access.policy import logged_in_recently, token_of
from controlplane.common.errors import Unauthorized
from controlplane.common.rest.collections import Collection, detail, detail_query
from controlplane.common.rest.cursors import Order, batches_of
from controlplane.common.rest.exports import BATCH_ROWS, FileFormat, export_lines
from controlplane.common.rest.fields import BodySerializer, FlagField, TextField, TimestampField, iso
from controlplane.common.rest.filters import ApiFilter, Filters, any_of
from controlplane.common.rest.sparse import SparseSerializer
from controlplane.common.rest.views import endpoint
from tasks_app.api.views import OfServiceView
from tasks_app.selectors.belongings import everything_of_instance, everything_of_service

FORGET_NEEDS_RECENT_LOGIN: Final = "recent authentication required to forget"
NDJSON: Final = FileFormat.NDJSON.media_type


class RemovalSerializer(SparseSerializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=Removal.Kind.choices)
    target_id = serializers.CharField(help_text="The id that the instance had, or the portal's number of the service.")
    name = serializers.CharField()
    environment = serializers.CharField()
    requested_by = optional_text(source="requested_by_name")
    requested_at = TimestampField()
    finished_at = optional_time(help_text="Null while it goes on.")
    removed = serializers.DictField(
        child=serializers.IntegerField(), help_text="Rows that are gone so far, by their `type` in an export."
    )
    removed_count = serializers.IntegerField()
    kept_reason = optional_text(help_text="Why something is left, where it is.")


class RemovalFilters(Filters):
    kind = any_of("kind", Removal.Kind)
    finished = ApiFilter(
        FlagField(help_text="Only those that are done, or those that are not."),
        lambda is_finished: Q(finished_at__isnull=not is_finished),
    )


REMOVALS: Collection[Removal] = Collection(
    name="removals",
    item=RemovalSerializer,
    filters=RemovalFilters,
    orderings={"requested_at": ("requested_at", "id")},
    default="-requested_at",
)


class ForgetBody(BodySerializer):
    name = TextField(
        trim_whitespace=False,
        max_length=255,
        help_text="What is to be forgotten: the name of the service; the node name of the instance, or else its id.",
    )


class RemovalsView(FleetView):
    """What was asked to be forgotten, newest first."""

    @endpoint("Removals", query=REMOVALS.query, responds=REMOVALS.page, tagged=True)
    def get(self) -> HttpResponseBase:
        return REMOVALS.answer(self, removals(environments=self.environments))


class RemovalView(FleetView):
    @endpoint(
        "One removal, and how far it is",
        query=detail_query(RemovalSerializer),
        responds=RemovalSerializer,
        refusals=(404,),
        tagged=True,
    )
    def get(self) -> HttpResponseBase:
        removal = get_removal(self.params["removal_id"], environments=self.environments)
        return detail(self, RemovalSerializer, removal)


def _ensure_recent_login(view: FleetView) -> None:
    if token_of(view.request) is None and not logged_in_recently(view.request):
        raise Unauthorized(FORGET_NEEDS_RECENT_LOGIN)


class InstanceForgetView(FleetView):
    """Removes it with all of its history, and cannot be undone: export it first. Refused while it is online.

    The answer is what to ask for how far it is. Until it is done, its agent is told to come again; after that it is let
    in as a new instance.
    """

    @endpoint(
        "Forget an instance for good",
        body=ForgetBody,
        responds=RemovalSerializer,
        refusals=(404, 409),
        example={"name": "shop-9"},
    )
    def post(self) -> Response:
        instance = get_instance(self.params["instance_id"], environments=self.environments)
        _ensure_recent_login(self)
        removal = forget_instance(instance, name=self.body["name"], actor=actor_of(self.request))
        return Response(RemovalSerializer(removal).data)


class ServiceForgetView(OfServiceView):
    """The same of a service with all its instances and tasks. Refused while one of them is online."""

    @endpoint(
        "Forget a service for good",
        query=ServiceQuery,
        body=ForgetBody,
        responds=RemovalSerializer,
        refusals=(404, 409),
        example={"name": "web/retired"},
    )
    def post(self) -> Response:
        service = self.service()
        _ensure_recent_login(self)
        removal = forget_service(service, name=self.body["name"], actor=actor_of(self.request))
        return Response(RemovalSerializer(removal).data)


class InstanceExportView(FleetView):
    """One JSON document a line, each with a `type`. The first is the instance; the last, of type `end`, counts them."""

    @endpoint("Everything of an instance, as a file", responds=None, refusals=(404, 429), media_type=NDJSON)
    def get(self) -> HttpResponseBase:
        instance = get_instance(self.params["instance_id"], environments=self.environments)
        lines = _lines(everything_of_instance(instance, environments=self.environments))
        return export_lines(self.request, f"instance-{instance.pk}", lines, stands=self.standing())


class ServiceExportView(OfServiceView):
    """The same of a service, its tasks and all its instances."""

    @endpoint(
        "Everything of a service, as a file",
        query=ServiceQuery,
        responds=None,
        refusals=(404, 429),
        media_type=NDJSON,
    )
    def get(self) -> HttpResponseBase:
        service = self.service()
        lines = _lines(everything_of_service(service, environments=self.environments))
        return export_lines(self.request, f"service-{service.pk}", lines, stands=self.standing())


def _lines(
    everything: Iterable[tuple[str, tuple[str, ...], QuerySet[Any]]],
) -> Iterator[list[Mapping[str, Any]]]:
    counts: dict[str, int] = {}
    for kind, columns, rows in everything:
        for batch in batches_of(rows, Order(columns), size=BATCH_ROWS):
            counts[kind] = counts.get(kind, 0) + len(batch)
            yield [_record(kind, row) for row in batch]
    yield [{"type": "end", "counts": counts, "exported_at": iso(timezone.now())}]


def _record(kind: str, row: Model) -> dict[str, Any]:
    """Every column of a row; times as the API writes them."""
    record: dict[str, Any] = {"type": kind}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        record[key_of(kind, field.attname)] = iso(value) if hasattr(value, "astimezone") else value
    return record


def key_of(kind: str, column: str) -> str:
    """Under which name a line has a column: its own, but `type` says of which kind the line is, as in `node_type`."""
    return f"{kind}_{column}" if column == "type" else column
