"""Everything that the portal has of an instance or a service: what an export writes and forgetting removes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import Model, QuerySet

from agents.models import (
    Command,
    Event,
    FanOutTarget,
    HostAddress,
    Instance,
    InstanceFacts,
    InstanceLabels,
    Node,
    Service,
    Session,
)
from agents.selectors.visibility import Environments, within
from tasks_app.models import (
    AppSnapshot,
    CustomMetric,
    CustomMetricTotals,
    MetricWindow,
    Task,
    TaskControls,
    TaskTotals,
)


@dataclass(frozen=True, slots=True)
class Belonging:
    """Rows of one kind, in the table of `model`.

    An index of the table begins with `owner` and goes on with `columns`, which give a total order. `time` names the
    column that partitions it. With
    `without_instance`, only those that are of no instance: the others go with theirs, which may have moved to another
    service since.
    """

    kind: str
    model: type[Model]
    columns: tuple[str, ...]
    owner: str = "instance"
    time: str = ""
    without_instance: bool = False

    def rows_of(self, owner_id: UUID | int) -> QuerySet[Any]:
        """In the order of `columns`."""
        rows: QuerySet[Any] = QuerySet(self.model)
        if self.without_instance:
            rows = rows.filter(instance=None)
        return rows.filter(**{self.owner: owner_id}).order_by(*self.columns)


# In the order in which they are removed: nothing is left that references what is gone.
OF_INSTANCE: Final[Sequence[Belonging]] = (
    Belonging("command", Command, ("created_at", "id")),
    Belonging("fan_out_target", FanOutTarget, ("id",)),
    Belonging("event", Event, ("occurred_at", "id"), time="occurred_at"),
    Belonging("custom_metric", CustomMetric, ("window_ended_at", "id"), time="window_ended_at"),
    Belonging("metric_window", MetricWindow, ("window_ended_at", "id"), time="window_ended_at"),
    Belonging("custom_metric_totals", CustomMetricTotals, ("task_name", "name", "kind", "labels_hash")),
    Belonging("task_totals", TaskTotals, ("task_name",)),
    Belonging("task_controls", TaskControls, ("instance_id",)),
    Belonging("app_snapshot", AppSnapshot, ("instance_id",)),
    Belonging("session", Session, ("connected_at", "id")),
    Belonging("labels", InstanceLabels, ("instance_id",)),
    Belonging("host_address", HostAddress, ("id",)),
    Belonging("facts", InstanceFacts, ("instance_id",)),
    Belonging("node", Node, ("instance_id",)),
)
# Beside its instances, which have theirs.
OF_SERVICE: Final[Sequence[Belonging]] = (
    Belonging("task", Task, ("name",), owner="service"),
    Belonging("event", Event, ("occurred_at", "id"), owner="service", time="occurred_at", without_instance=True),
)


def everything_of_instance(
    instance: Instance, *, environments: Environments = None
) -> Iterator[tuple[str, tuple[str, ...], QuerySet[Any]]]:
    """The kind, the total order and the rows of everything of an instance; the instance itself comes first.

    What was made while it was in an environment that is none of these is left out.
    """
    yield "instance", ("id",), Instance.objects.filter(pk=instance.pk)
    for each in OF_INSTANCE:
        rows = each.rows_of(instance.pk)
        if any(field.name == "service" for field in each.model._meta.concrete_fields):
            rows = rows.filter(within(environments, "service__environment"))
        yield each.kind, each.columns, rows


def everything_of_service(
    service: Service, *, environments: Environments = None
) -> Iterator[tuple[str, tuple[str, ...], QuerySet[Any]]]:
    """The same of a service and of all its instances; one query more, for their ids."""
    yield "service", ("id",), Service.objects.filter(pk=service.pk)
    for each in OF_SERVICE:
        yield each.kind, each.columns, each.rows_of(service.pk)
    for instance in Instance.objects.filter(service=service).only("id").order_by("id"):
        yield from everything_of_instance(instance, environments=environments)
