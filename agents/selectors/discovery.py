"""Nodes of the registry for programs that watch them: nodes.json and Prometheus. Source: argus contract, nodes.json."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.models.fields.json import KeyTextTransform, compile_json_path  # type: ignore[attr-defined]
from django.db.models.sql.compiler import SQLCompiler

from agents.models import Node
from agents.models.instance import Connectivity
from agents.selectors.visibility import Environments, within

# Rows that are fetched at once: beyond a few thousand, fewer round trips save nothing.
_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A node as nodes.json has it. What its meta data lack, or have as null, is the empty string."""

    node_id: str
    user: str
    ip: str
    hostname: str
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Target(ListedNode):
    """A node as service discovery has it. `labels` are the effective ones that are stored, of all layers."""

    name: str
    type: str
    version: str
    environment: str
    port: str
    labels: Mapping[str, str]


def online_nodes(environments: Environments = None) -> QuerySet[Node]:
    """Nodes that are online, in the order of their numbers, but for those that were put into the archive."""
    rows = Node.objects.filter(
        within(environments, "instance__service__environment"),
        instance__connectivity=Connectivity.ONLINE,
        instance__archived_at=None,
    )
    return rows.order_by("number")


def listed_nodes() -> Iterator[ListedNode]:
    """All nodes of nodes.json; one query, of which only the facts that are asked for travel."""
    rows = _with_facts(online_nodes(), "user", "ip", "hostname").values_list(*_LISTED)
    for node_id, user, ip, hostname, tags in rows.iterator(chunk_size=_CHUNK):
        yield ListedNode(node_id, _text(user), _text(ip), _text(hostname), tags)


def targets(environments: Environments = None) -> Iterator[Target]:
    """The same nodes with what Prometheus may choose and rename by; one query."""
    rows = _with_facts(online_nodes(environments), "user", "ip", "hostname", "port").values_list(
        *_LISTED,
        "name",
        "type",
        "version",
        "instance__service__environment",
        "fact_port",
        "instance__labels__effective",
    )
    for node_id, user, ip, hostname, tags, name, kind, version, environment, port, labels in rows.iterator(
        chunk_size=_CHUNK
    ):
        yield Target(
            node_id,
            _text(user),
            _text(ip),
            _text(hostname),
            tags,
            name=name,
            type=kind,
            version=version,
            environment=environment,
            port=_text(port),
            labels=labels or {},
        )


_LISTED: Final = ("instance__external_id", "fact_user", "fact_ip", "fact_hostname", "label")


def _with_facts(rows: QuerySet[Node], *names: str) -> QuerySet[Node]:
    """Each with these facts of its instance, as `fact_<name>`: text, NULL where there is none."""
    return rows.annotate(**{f"fact_{name}": _FactText(name, "instance__facts__facts") for name in names})


def _text(value: object) -> str:
    return "" if value is None else str(value)


class _FactText(KeyTextTransform):
    """Django's, which on SQLite gives the word `null` for a null and cannot tell it from that text."""

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        left, params, keys = self.preprocess_lhs(compiler, connection)
        return f"JSON_EXTRACT({left}, %s)", (*params, compile_json_path(keys))
