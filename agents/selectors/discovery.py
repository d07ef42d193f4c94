"""Nodes of the registry for programs that watch them: nodes.json and Prometheus. Source: argus contract, nodes.json."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.models.fields.json import KeyTextTransform, compile_json_path  # type: ignore[attr-defined]
from django.db.models.sql.compiler import SQLCompiler

from agents.models import Node
from agents.models.instance import Connectivity

_FACTS = "instance__facts__facts"
# Rows that are fetched at once: beyond a few thousand, fewer round trips save nothing.
_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A node as nodes.json has it. What its meta data lack, or have as null, is the empty string."""

    node_id: str
    user: str
    ip: str
    hostname: str
    labels: list[str]


def online_nodes() -> QuerySet[Node]:
    """Nodes that are online, in the order of their ids, but for those that were put into the archive."""
    return Node.objects.filter(instance__connectivity=Connectivity.ONLINE, instance__archived_at__isnull=True).order_by(
        "number"
    )


def listed_nodes() -> Iterator[ListedNode]:
    """All nodes of nodes.json; one query, of which only the facts that are asked for travel."""
    rows = (
        online_nodes()
        .annotate(user=fact("user"), ip=fact("ip"), hostname=fact("hostname"))
        .values_list("instance__external_id", "user", "ip", "hostname", "label")
    )
    for node_id, user, ip, hostname, labels in rows.iterator(chunk_size=_CHUNK):
        yield ListedNode(node_id, as_text(user), as_text(ip), as_text(hostname), labels)


def as_text(value: object) -> str:
    return "" if value is None else str(value)


def fact(name: str) -> "_FactText":
    """A fact of the node's instance as text, NULL where there is none."""
    return _FactText(name, _FACTS)


class _FactText(KeyTextTransform):
    """Django's, which on SQLite gives the word `null` for a null and cannot tell it from that text."""

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        left, params, keys = self.preprocess_lhs(compiler, connection)
        return f"JSON_EXTRACT({left}, %s)", (*params, compile_json_path(keys))
