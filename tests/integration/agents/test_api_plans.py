"""Each ordering that a collection offers is read from an index, at the first page and at any other."""

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agents.api.history import HISTORY
from agents.api.tokens import AGENT_TOKENS
from agents.api.views import COMMANDS, INSTANCES, SESSIONS
from agents.models import AgentToken, Command, Event, Instance, Session
from controlplane.access.api.tokens import API_TOKENS
from controlplane.access.models import ApiToken
from controlplane.common.rest.cursors import Order

pytestmark = [pytest.mark.django_db, pytest.mark.needs_postgres]
MODELS: list[tuple[Any, Any]] = [
    (INSTANCES, Instance),
    (SESSIONS, Session),
    (COMMANDS, Command),
    (HISTORY, Event),
    (AGENT_TOKENS, AgentToken),
    (API_TOKENS, ApiToken),
]
ORDERINGS = [
    pytest.param(model, Order(columns, is_down), id=f"{collection.name} by {name}{' down' if is_down else ''}")
    for collection, model in MODELS
    for name, columns in collection.orderings.items()
    for is_down in (False, True)
]


def some_value(field):
    if field.get_internal_type() == "DateTimeField":
        return timezone.now()
    return {"UUIDField": uuid.uuid4(), "BigAutoField": 7, "CharField": "n"}[field.get_internal_type()]


@pytest.fixture
def plan(db):
    """The plan of a query where nothing but an index can give an order; tables of tests are too small for a choice."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    return lambda rows: rows.explain()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(("model", "order"), ORDERINGS)
def test_pages_are_read_from_an_index(plan, model, order, is_first):
    rows = model.objects.all()
    if not is_first:
        rows = rows.filter(order.after([some_value(model._meta.get_field(column)) for column in order.columns]))

    lines = plan(order.apply(rows)[:51]).splitlines()

    # `Incremental Sort` is of the few events of one moment.
    assert [line for line in lines if re.search(r"Seq Scan|(^|->)\s*Sort  \(", line)] == []
    assert is_first or any("Index Cond" in line for line in lines)
