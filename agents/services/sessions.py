"""Sessions: opening one by a hello, ending one, and finding those whose process is gone."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents.models import AgentToken, Instance, Replica, Session
from agents.models.event import EventKind
from agents.models.instance import Dialect
from agents.services.errors import InstanceConflict, ReplicaStopped
from agents.services.events import portal_event, record_events
from agents.services.instances import describe_instance, describe_service, enrol_instance, mark_online
from agents.services.replicas import dead_replicas
from agents.services.reports import Hello
from agents.services.tokens import Credential
from controlplane.common.bulk import update_from_values
from controlplane.common.hints import hint_replicas

logger = logging.getLogger(__name__)

# An instance may be new to two processes at the same moment; the loser of the race reads what the winner wrote.
_OPEN_TRIES = 3


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What a gateway needs to hold a session."""

    session_id: UUID
    public_id: str
    instance_id: UUID
    service_id: int
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Cut:
    """A session that its holder must close, and why: `superseded`, `token_revoked` or `lost`."""

    session_id: UUID
    reason: str


def open_session(hello: Hello, *, replica_id: UUID, credential: Credential, peer_address: str) -> OpenedSession:
    """Make the instance's active session; a session that was active becomes superseded and its holder is hinted.

    Raises InstanceConflict where the identity belongs to someone else, or where two live processes claim it and the
    last takeover is less than TAKEOVER_INTERVAL_S old. The conflict itself is recorded all the same. Raises
    ReplicaStopped where this process was declared dead.
    """
    for attempt in range(_OPEN_TRIES):
        try:
            with transaction.atomic():
                opened = _open(hello, replica_id, credential, peer_address)
        except IntegrityError:
            if attempt == _OPEN_TRIES - 1:
                raise
            continue
        break
    if opened is None:
        raise InstanceConflict(
            f"Another live process holds instance {hello.service.instance_id}. Give each process an instance id or "
            f"a state directory of its own; this one may take over after {settings.TAKEOVER_INTERVAL_S} s."
        )
    return opened


def _open(hello: Hello, replica_id: UUID, credential: Credential, peer_address: str) -> OpenedSession | None:
    now = timezone.now()
    if not Replica.objects.filter(pk=replica_id, stopped_at=None).exists():
        raise ReplicaStopped
    instance = enrol_instance(hello.service, dialect=Dialect(hello.dialect))
    current = Session.objects.filter(instance=instance, status=Session.Status.ACTIVE).select_related("replica").first()
    is_takeover = current is not None and _is_clone(current, hello, now)
    if current is not None and is_takeover:
        _record_conflict(instance, current, hello, now)
        if current.took_over_at is not None and now - current.took_over_at < _takeover_interval():
            return None
    if current is not None:
        _supersede(instance, current, now)
    session = Session.objects.create(
        instance=instance,
        replica_id=replica_id,
        token_id=credential.token_id,
        protocol_version=hello.protocol_version,
        capabilities=list(hello.capabilities),
        accepted_capabilities=list(hello.accepted_capabilities),
        peer_address=peer_address,
        runtime_hostname=hello.runtime.hostname,
        runtime_pid=hello.runtime.pid,
        runtime_started_at=hello.runtime.started_at,
        # A reconnect of the same process does not restart the damping.
        took_over_at=now if is_takeover else current.took_over_at if current else None,
        connected_at=now,
        last_hello_at=now,
        last_message_at=now,
    )
    describe_service(instance.service, hello.service)
    _forget_other_process(instance, hello)
    describe_instance(instance, hello.service, hello.runtime)
    instance.last_seen_at = now
    instance.save(update_fields=[*_HELLO_FIELDS, "updated_at"])
    mark_online([instance.pk], at=now)
    record_events(
        [
            portal_event(
                EventKind.SESSION_OPENED,
                at=now,
                instance=instance,
                meta={"session_id": session.public_id, "peer_address": peer_address},
            )
        ]
    )
    return OpenedSession(session.pk, session.public_id, instance.pk, instance.service_id, now)


def _forget_other_process(instance: Instance, hello: Hello) -> None:
    """Let the process that now holds the identity count, though it may have started before the one that held it.

    A clone that took the identity for a while would otherwise silence the survivor for good, and so would a process
    whose clock ran ahead. Must come before the instance is described anew.
    """
    if (instance.hostname, instance.pid, instance.started_at) != hello.runtime.process:
        instance.last_heartbeat_started_at = None
        instance.last_sync_started_at = None


_HELLO_FIELDS = (
    "node_name",
    "deployment_version",
    "agent_version",
    "python_version",
    "hostname",
    "pid",
    "started_at",
    "last_seen_at",
    "last_heartbeat_started_at",
    "last_sync_started_at",
)


def _takeover_interval() -> timedelta:
    return timedelta(seconds=settings.TAKEOVER_INTERVAL_S)


def _is_clone(current: Session, hello: Hello, now: datetime) -> bool:
    """Whether the hello comes from a second live process under the identity of `current`.

    The same process that reconnects is no clone, nor is anyone when the old session's holder or the old agent has
    been silent so long that it may be gone.
    """
    holder_lives = current.replica is not None and current.replica.stopped_at is None
    recently_heard = current.last_message_at > now - timedelta(seconds=settings.INSTANCE_OFFLINE_AFTER_S)
    return current.process != hello.runtime.process and holder_lives and recently_heard


def _record_conflict(instance: Instance, current: Session, hello: Hello, now: datetime) -> None:
    """Show the conflict on the instance; one event per takeover interval says who claims it."""
    seen = instance.conflict_seen_at
    instance.conflict_seen_at = now
    instance.save(update_fields=["conflict_seen_at", "updated_at"])
    if seen is not None and now - seen < _takeover_interval():
        return
    claimants = [
        {"hostname": current.runtime_hostname, "pid": current.runtime_pid, "peer_address": current.peer_address},
        {"hostname": hello.runtime.hostname, "pid": hello.runtime.pid},
    ]
    record_events([portal_event(EventKind.INSTANCE_CONFLICT, at=now, instance=instance, meta={"claimants": claimants})])


def _supersede(instance: Instance, current: Session, now: datetime) -> None:
    Session.objects.filter(pk=current.pk, status=Session.Status.ACTIVE).update(
        status=Session.Status.SUPERSEDED,
        superseded_at=now,
        disconnected_at=now,
        end_reason="superseded",
        updated_at=now,
    )
    record_events(
        [portal_event(EventKind.SESSION_SUPERSEDED, at=now, instance=instance, meta={"session_id": current.public_id})]
    )
    if current.replica_id:
        holder = current.replica_id
        transaction.on_commit(lambda: hint_replicas([holder], [instance.pk]), robust=True)


@transaction.atomic
def end_sessions(sessions: QuerySet[Session], *, reason: str) -> int:
    """End those of `sessions` that are active, with an event each; returns how many ended."""
    now = timezone.now()
    active = list(
        sessions.filter(status=Session.Status.ACTIVE).select_related("instance").select_for_update(of=("self",))
    )
    if not active:
        return 0
    Session.objects.filter(pk__in=[session.pk for session in active]).update(
        status=Session.Status.DISCONNECTED, disconnected_at=now, end_reason=reason, updated_at=now
    )
    record_events(
        portal_event(
            EventKind.SESSION_CLOSED,
            at=now,
            instance=session.instance,
            message=reason,
            meta={"session_id": session.public_id},
        )
        for session in active
    )
    return len(active)


def reconcile_dead_replicas() -> int:
    """Mark processes that are gone as stopped, and end the sessions of every stopped one; returns how many ended.

    Sessions of living processes are not touched. Safe to run twice and from several processes.
    """
    for replica in dead_replicas(timezone.now()):
        if Replica.objects.filter(pk=replica.pk, stopped_at=None).update(stopped_at=timezone.now()):
            logger.warning("replica.dead id=%s kind=%s", replica.pk, replica.kind)
    return end_sessions(
        Session.objects.filter(Q(replica=None) | Q(replica__stopped_at__isnull=False)), reason="replica_lost"
    )


def sessions_to_cut(replica_id: UUID, *, since: datetime) -> list[Cut]:
    """Sessions of this replica whose socket must go: token revoked or expired, superseded or declared lost.

    `since` bounds how far back ended sessions are looked for; sockets that are closed already are simply not found
    by the caller. Cost: two indexed reads.
    """
    mine = Session.objects.filter(replica_id=replica_id)
    unusable = mine.filter(status=Session.Status.ACTIVE, token__in=AgentToken.objects.filter(AgentToken.unusable()))
    cuts = [Cut(session_id, "token_revoked") for session_id in unusable.values_list("pk", flat=True)]
    ended = mine.filter(Q(status=Session.Status.SUPERSEDED) | Q(end_reason="replica_lost"), disconnected_at__gte=since)
    for session_id, status in ended.values_list("pk", "status"):
        cuts.append(Cut(session_id, "superseded" if status == Session.Status.SUPERSEDED else "lost"))
    return cuts


def touch_sessions(touches: Iterable[tuple[UUID, datetime]]) -> None:
    """Move `last_message_at` of sessions; each id once."""
    update_from_values(
        Session,
        ("id", "last_message_at"),
        sorted(touches),
        assignments="last_message_at = v.last_message_at",
        condition="t.last_message_at < v.last_message_at",
    )
