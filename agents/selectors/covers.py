"""What the offline instances of a service have in common, and the others have not."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from django.db.models import BooleanField, Case, OuterRef, Q, Subquery, UUIDField, Value, When

from agents.models import InstanceLabels, Replica, Session
from agents.selectors.census import offline_lately
from agents.selectors.instances import kept

# Beyond so many instances of the services that are asked for, nobody looks for what they have in common.
LOOKED_AT_MAX = 2000

CoverKind: TypeAlias = Literal["instance", "host", "replica", "version", "label"]


@dataclass(frozen=True, slots=True)
class Cover:
    """`value` is what to show; `key` names the label, the replica or the one instance."""

    kind: CoverKind
    value: str
    key: str = ""


def covers(service_ids: Collection[int], *, now: datetime) -> dict[int, Cover]:
    """By service, what covers all its offline instances and none of the others. Three queries at most."""
    if not service_ids:
        return {}
    last = Session.objects.filter(instance=OuterRef("pk")).order_by("-connected_at")
    rows: list[Any] = list(
        kept()
        .filter(service__in=service_ids)
        .order_by()
        .values(
            "pk",
            "service",
            "node_name",
            "external_id",
            "hostname",
            "deployment_version",
            lately=_is(offline_lately(now)),
        )
        .annotate(replica=Subquery(last.values("replica")[:1], output_field=UUIDField()))[: LOOKED_AT_MAX + 1]
    )
    if len(rows) > LOOKED_AT_MAX:
        return {}
    by_service: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_service[row["service"]].append(row)
    labels: dict[UUID, Mapping[str, str]] = dict(
        InstanceLabels.objects.filter(pk__in=[row["pk"] for row in rows]).values_list("pk", "effective")
    )
    found = {pk: cover for pk, mine in by_service.items() if (cover := _cover(mine, labels))}
    return _with_names(found)


def _is(condition: Q) -> Any:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _cover(rows: list[dict[str, Any]], labels: Mapping[UUID, Mapping[str, str]]) -> Cover | None:
    gone = [row for row in rows if row["lately"]]
    rest = [row for row in rows if not row["lately"]]
    if len(gone) == 1:
        return Cover("instance", gone[0]["node_name"] or gone[0]["external_id"], str(gone[0]["pk"]))
    if not gone:
        return None
    for kind, column in (("host", "hostname"), ("replica", "replica"), ("version", "deployment_version")):
        value = gone[0][column]
        if value and all(row[column] == value for row in gone) and not any(row[column] == value for row in rest):
            return Cover(kind, str(value), str(value))  # type: ignore[arg-type]
    counts: Counter[tuple[str, str]] = Counter()
    for row in gone:
        counts.update(labels.get(row["pk"], {}).items())
    for (key, value), count in sorted(counts.items()):
        if count == len(gone) and not any(labels.get(row["pk"], {}).get(key) == value for row in rest):
            return Cover("label", f"{key}={value}" if value else key, key)
    return None


def _with_names(found: dict[int, Cover]) -> dict[int, Cover]:
    """Replicas by their names instead of their ids."""
    ids = [cover.key for cover in found.values() if cover.kind == "replica"]
    names = {str(row.pk): str(row) for row in Replica.objects.filter(pk__in=ids).defer("ingest")}
    return {
        pk: Cover("replica", names[cover.key], cover.key) if cover.kind == "replica" and cover.key in names else cover
        for pk, cover in found.items()
        if cover.kind != "replica" or cover.key in names
    }
