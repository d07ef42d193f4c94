"""What a process that holds sessions asks the database every few seconds, in case a hint was lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from agents.models import Command, Session
from agents.services.replicas import touch_replica
from agents.services.sessions import Cut, sessions_to_cut
from agents.services.transitions import store_transitions


@dataclass(frozen=True, slots=True)
class Pulse:
    """`is_alive` is False where others declared this process dead; `waiting` are instances with something to send."""

    is_alive: bool
    cuts: list[Cut]
    waiting: list[UUID]


def pulse(replica_id: UUID, *, since: datetime, ingest: Mapping[str, object] | None = None) -> Pulse:
    """Give the replica's pulse and learn what to do. Cost: one update and three indexed reads, whatever the fleet;
    and one upsert where this process moved commands.

    `since` bounds how far back sessions that ended elsewhere are reported; `ingest` goes with the pulse.
    """
    is_alive = touch_replica(replica_id, ingest=ingest)
    store_transitions()
    waiting = Command.objects.filter(
        status=Command.Status.PENDING,
        deadline_at__gt=timezone.now(),
        instance__sessions__replica=replica_id,
        instance__sessions__status=Session.Status.ACTIVE,
    )
    return Pulse(
        is_alive=is_alive,
        cuts=sessions_to_cut(replica_id, since=since),
        waiting=list(waiting.values_list("instance_id", flat=True).distinct()),
    )
