"""What an order would meet at each instance: who is connected, and what that session accepted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery

from agents.models import Instance, Session
from controlplane.common.database import any_of


@dataclass(frozen=True, slots=True)
class TargetState:
    """`session` is the active one or None; `last_session` the newest ever; `is_live` if its holder lives.

    `is_leaving` is an instance that is being forgotten.
    """

    instance: Instance
    session: Session | None
    last_session: Session | None
    is_live: bool
    is_leaving: bool = False


def target_states(instances: Iterable[Instance]) -> list[TargetState]:
    """The state of each instance, in the given order. Two queries, whatever the number; a third for the unconnected."""
    instances = list(instances)
    active: dict[UUID, Session] = {
        session.instance_id: session
        for session in Session.objects.filter(
            instance__in=[instance.pk for instance in instances], status=Session.Status.ACTIVE
        ).select_related("replica")
    }
    newest = _newest_sessions([instance.pk for instance in instances if instance.pk not in active])
    return [
        TargetState(
            instance=instance,
            session=(session := active.get(instance.pk)),
            last_session=session or newest.get(instance.pk),
            is_live=session is not None and session.replica is not None and session.replica.stopped_at is None,
            is_leaving=instance.forget_requested_at is not None,
        )
        for instance in instances
    ]


_ORDER_STATES = """
    SELECT i.id, i.dialect, i.service_id, i.node_name, i.connectivity, i.inflight_tasks,
        s.id, s.accepted_capabilities, s.replica_id, r.id IS NOT NULL AND r.stopped_at IS NULL,
        i.forget_requested_at IS NOT NULL
    FROM agents_instance i
    LEFT JOIN {active} ON s.instance_id = i.id AND s.status = 'active'
    LEFT JOIN agents_replica r ON r.id = s.replica_id
    WHERE i.id
"""
# One short index scan per instance: PostgreSQL would rather read the table, for a handful already.
_ACTIVE = {
    "postgresql": "LATERAL (SELECT * FROM agents_session WHERE instance_id = i.id AND status = 'active' LIMIT 1) s",
    "sqlite": "agents_session s",
}
# In the order of the models, as `from_db` takes them.
_INSTANCE_COLUMNS = ("id", "dialect", "service_id", "node_name", "connectivity", "inflight_tasks")
_SESSION_COLUMNS = ("id", "instance_id", "replica_id", "accepted_capabilities")


def order_states(instance_ids: Sequence[UUID], *, with_last_session: bool) -> dict[UUID, TargetState]:
    """The states of those that exist, by instance, with no more than an order needs of them: any other column costs
    a query a row. One statement; with the last sessions a second, where some are not connected.

    In plain SQL, since every command begins with it: the ORM spends three milliseconds on the same.
    """
    states = {}
    with connection.cursor() as cursor:
        among, parameters = any_of(instance_ids)
        cursor.execute(_ORDER_STATES.format(active=_ACTIVE[connection.vendor]) + among, parameters)
        for instance_id, *columns, session_id, capabilities, replica_id, is_live, is_leaving in cursor:
            key = _uuid(instance_id)
            instance = Instance.from_db(connection.alias, _INSTANCE_COLUMNS, (key, *columns))
            session = None
            if session_id is not None:
                row = (_uuid(session_id), key, replica_id and _uuid(replica_id), json.loads(capabilities))
                session = Session.from_db(connection.alias, _SESSION_COLUMNS, row)
            states[key] = TargetState(instance, session, session, is_live=bool(is_live), is_leaving=bool(is_leaving))
    if with_last_session:
        newest = _newest_sessions([key for key, state in states.items() if state.session is None])
        states |= {key: replace(states[key], last_session=session) for key, session in newest.items()}
    return states


def _uuid(value: UUID | str) -> UUID:
    """SQLite keeps ids as text."""
    return value if isinstance(value, UUID) else UUID(value)


def _newest_sessions(instance_ids: list[UUID]) -> dict[UUID, Session]:
    """The newest session of each that ever had one."""
    if not instance_ids:
        return {}
    newest = Session.objects.filter(instance=OuterRef("instance")).order_by("-connected_at", "-id").values("pk")[:1]
    return {
        session.instance_id: session
        for session in Session.objects.filter(instance__in=instance_ids, pk=Subquery(newest))
    }
