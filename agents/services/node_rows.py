"""Nodes that report, read and locked by a statement that is written once.

The ORM takes longer to write this one, with its three joins and some thirty columns, than PostgreSQL takes to answer
it, and each batch of reports would pay for that.
"""

from collections.abc import Collection
from functools import cache
from typing import Any, Final, TypeAlias

from django.db import DEFAULT_DB_ALIAS, connections, models

from agents.models import Instance, InstanceFacts, Node, Service
from agents.models.instance import Dialect
from agents.selectors.facts import LISTED_MAX_BYTES
from controlplane.common.database import any_of, typed_rows

Columns: TypeAlias = "tuple[models.Field[Any, Any], ...]"


def _columns(model: type[models.Model], *names: str) -> Columns:
    """The columns of these names, or all; in the order of the model, in which `from_db` takes them."""
    return tuple(field for field in model._meta.concrete_fields if not names or field.name in names)


# As `agents.selectors.nodes` has them, without what no report asks for.
_INSTANCE: Final = _columns(
    Instance,
    "id",
    "external_id",
    "node_name",
    "service",
    "connectivity",
    "connectivity_changed_at",
    "last_seen_at",
    "last_heartbeat_sent_at",
    "health",
    "health_changed_at",
    "archived_at",
    "forget_requested_at",
)
_SERVICE: Final = _columns(Service, "id", "name", "environment", "archived_at")
_NODE: Final = _columns(Node)
_FACTS: Final = _columns(InstanceFacts, "instance", "facts")
_READ: Final = {"i": _INSTANCE, "s": _SERVICE, "n": _NODE, "f": _FACTS}
_FIELDS: Final = _INSTANCE + _SERVICE + _NODE + _FACTS
_ENDS: Final = (len(_INSTANCE), len(_INSTANCE + _SERVICE), len(_INSTANCE + _SERVICE + _NODE))
# Both: of a row that is not locked, a statement that waited for another shows what was there before it waited.
# SQLite's transactions have the lock of the whole database.
_LOCKS: Final = {"postgresql": " FOR NO KEY UPDATE OF i, n"}


def locked_nodes(node_ids: Collection[str]) -> list[Instance]:
    """The instances of nodes with these ids, locked in the order of their keys.

    Each with `service`, `node` and, where it has any, `facts`; any other column costs a query. What the facts say is
    None where they are larger than LISTED_MAX_BYTES, since a batch is many. Call it inside a transaction.
    """
    vendor = connections[DEFAULT_DB_ALIAS].vendor
    condition, parameters = any_of(list(node_ids))
    statement = f"{_statement(vendor)} {condition} ORDER BY i.id{_LOCKS.get(vendor, '')}"
    return [_instance(row) for row in typed_rows(statement, [Dialect.ARGUS.value, *parameters], _FIELDS)]


@cache
def _statement(vendor: str) -> str:  # noqa: ARG001 -- the key
    """The statement up to the ids."""
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = [f"{alias}.{quote(str(field.column))}" for alias, fields in _READ.items() for field in fields]
    columns[-1] = f"CASE WHEN f.facts_bytes <= {LISTED_MAX_BYTES} THEN {columns[-1]} END"
    tables = {alias: f"{quote(fields[0].model._meta.db_table)} {alias}" for alias, fields in _READ.items()}
    return (
        f"SELECT {', '.join(columns)} FROM {tables['i']} JOIN {tables['n']} ON n.instance_id = i.id "  # noqa: S608 -- code
        f"JOIN {tables['s']} ON s.id = i.service_id LEFT JOIN {tables['f']} ON f.instance_id = i.id "
        "WHERE i.dialect = %s AND i.external_id"
    )


def _instance(row: tuple[Any, ...]) -> Instance:
    first, second, third = _ENDS
    instance = Instance.from_db(DEFAULT_DB_ALIAS, _names(_INSTANCE), row[:first])
    instance.service = Service.from_db(DEFAULT_DB_ALIAS, _names(_SERVICE), row[first:second])
    _remember(instance, "node", Node.from_db(DEFAULT_DB_ALIAS, _names(_NODE), row[second:third]))
    # None is what the ORM remembers of a row that is not there.
    facts = None if row[third] is None else InstanceFacts.from_db(DEFAULT_DB_ALIAS, _names(_FACTS), row[third:])
    _remember(instance, "facts", facts)
    return instance


@cache
def _names(fields: Columns) -> tuple[str, ...]:
    return tuple(field.attname for field in fields)


def _remember(instance: Instance, name: str, other: models.Model | None) -> None:
    """As `select_related` does; the descriptor would not take None."""
    instance._state.fields_cache[name] = other  # noqa: SLF001 -- of every model
    if other is not None:
        other._state.fields_cache["instance"] = instance  # noqa: SLF001 -- as above
