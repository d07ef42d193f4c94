"""Sessions: opening one by a hello, ending one, and finding those whose process is gone."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents.models import AgentToken, Instance, Replica, Session
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect
from agents.services.archive import restore_heard
from agents.services.errors import InstanceConflict, ReplicaStopped
from agents.services.events import NewEvent, portal_event, record_events
from agents.services.instances import FACT_COLUMNS, describe_instance, describe_services, enrol_instances
from agents.services.inventory import facts_of_hello, write_changed_facts
from agents.services.replicas import dead_replicas
from agents.services.reports import Hello
from agents.services.tokens import Credential, keep_awaited
from controlplane.common.bulk import update_from_values
from controlplane.common.hints import hint_replicas

logger = logging.getLogger(__name__)

# An instance may be new to two processes at the same moment; the loser of the race reads what the winner wrote.
_OPEN_TRIES = 3


@dataclass(frozen=True, slots=True)
class Opening:
    """A hello that waits for its session: who says it, by whose leave, and from where."""

    hello: Hello
    credential: Credential
    peer_address: str


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What a gateway needs to hold a session. `has_synced` is False where no topology of the instance is known."""

    session_id: UUID
    public_id: str
    instance_id: UUID
    service_id: int
    opened_at: datetime
    has_synced: bool


OpenOutcome: TypeAlias = OpenedSession | InstanceConflict | ReplicaStopped


@dataclass(frozen=True, slots=True)
class Cut:
    """A session that its holder must close, and why: `superseded`, `token_revoked` or `lost`."""

    session_id: UUID
    reason: str


def open_sessions(openings: Sequence[Opening], *, replica_id: UUID) -> list[OpenOutcome]:
    """Make the active session of each hello's instance; one outcome per opening, in their order.

    A session that was active becomes superseded and its holder is hinted. An outcome is InstanceConflict where the
    identity belongs to someone else, or where two live processes claim it and the last takeover is less than
    TAKEOVER_INTERVAL_S old (the conflict itself is recorded all the same); ReplicaStopped where this process was
    declared dead. Hellos of one instance count in their order, each in a transaction of its own.

    All openings are of one dialect. Cost: a constant number of statements, whatever the count, as long as no instance
    says hello twice. Raises DatabaseError where the database is away; what was opened by then is superseded when the
    same openings come again.
    """
    outcomes: dict[int, OpenOutcome] = {}
    waiting = list(range(len(openings)))
    while waiting:
        seen: set[UUID] = set()
        distinct: list[int] = []
        repeated: list[int] = []
        for number in waiting:
            instance_id = openings[number].hello.service.instance_id
            (repeated if instance_id in seen else distinct).append(number)
            seen.add(instance_id)
        opened = _open_distinct([openings[number] for number in distinct], replica_id)
        outcomes.update(zip(distinct, opened, strict=True))
        waiting = repeated
    return [outcomes[number] for number in range(len(openings))]


def open_session(hello: Hello, *, replica_id: UUID, credential: Credential, peer_address: str) -> OpenedSession:
    """Open the session of one hello. Raises what would be its outcome in `open_sessions`."""
    [outcome] = open_sessions([Opening(hello, credential, peer_address)], replica_id=replica_id)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _open_distinct(openings: Sequence[Opening], replica_id: UUID) -> list[OpenOutcome]:
    """Open all at once; what cannot be stored together is opened one by one, so that each answers for itself."""
    for attempt in range(_OPEN_TRIES):
        try:
            with transaction.atomic():
                return _OpeningRound(openings, replica_id).run()
        except IntegrityError:
            if attempt == _OPEN_TRIES - 1 and len(openings) == 1:
                raise
    return [outcome for opening in openings for outcome in _open_distinct([opening], replica_id)]


class _OpeningRound:
    """One transaction that opens the sessions of distinct instances."""

    def __init__(self, openings: Sequence[Opening], replica_id: UUID) -> None:
        self._openings = openings
        self._replica_id = replica_id
        self._now = timezone.now()
        self._events: list[NewEvent] = []
        self._refused: dict[UUID, InstanceConflict] = {}
        self._in_conflict: list[UUID] = []

    def run(self) -> list[OpenOutcome]:
        if not Replica.objects.filter(pk=self._replica_id, stopped_at=None).exists():
            return [ReplicaStopped() for _opening in self._openings]
        identities = [opening.hello.service for opening in self._openings]
        instances, self._refused = enrol_instances(identities, dialect=Dialect(self._openings[0].hello.dialect))
        active = self._active_sessions(instances)
        let_in: list[tuple[Opening, Instance, Session]] = []
        superseded: list[Session] = []
        for opening in self._openings:
            instance_id = opening.hello.service.instance_id
            if instance_id in self._refused:
                continue
            session = self._session(opening, instances[instance_id], active.get(instance_id))
            if session is not None:
                let_in.append((opening, instances[instance_id], session))
                superseded += [active[instance_id]] if instance_id in active else []
        Instance.objects.filter(pk__in=self._in_conflict).update(conflict_seen_at=self._now, updated_at=self._now)
        self._supersede(superseded, instances)
        Session.objects.bulk_create(session for _opening, _instance, session in let_in)
        describe_services((instance.service, opening.hello.service) for opening, instance, _session in let_in)
        self._describe_instances(let_in)
        write_changed_facts(
            (instance.pk, facts_of_hello(opening.hello), getattr(instance, "facts_digest", None) or "")
            for opening, instance, _session in let_in
        )
        record_events(self._events)
        keep_awaited(opening.credential for opening, _instance, _session in let_in)
        opened = {
            instance.pk: OpenedSession(
                session.pk,
                session.public_id,
                instance.pk,
                instance.service_id,
                self._now,
                has_synced=instance.last_sync_at is not None,
            )
            for _opening, instance, session in let_in
        }
        return [self._refused.get(identity.instance_id) or opened[identity.instance_id] for identity in identities]

    def _active_sessions(self, instance_ids: Iterable[UUID]) -> dict[UUID, Session]:
        """By instance. Locked, because nobody may send or answer on a session while it is being superseded."""
        rows = (
            Session.objects.select_for_update(of=("self",))
            .filter(instance__in=list(instance_ids), status=Session.Status.ACTIVE)
            .select_related("replica")
            .defer("capabilities", "accepted_capabilities")
            .order_by("pk")
        )
        return {session.instance_id: session for session in rows}

    def _session(self, opening: Opening, instance: Instance, current: Session | None) -> Session | None:
        """The session to be, unsaved; None, and a refusal, where another process may keep the identity for now."""
        hello, now = opening.hello, self._now
        is_takeover = current is not None and _is_clone(current, hello, now)
        if current is not None and is_takeover:
            self._note_conflict(instance, current, hello)
            if current.took_over_at is not None and now - current.took_over_at < _takeover_interval():
                self._refused[instance.pk] = InstanceConflict(
                    f"Another live process holds instance {instance.pk}. Give each process an instance id or "
                    f"a state directory of its own; this one may take over after {settings.TAKEOVER_INTERVAL_S} s."
                )
                return None
        session = Session(
            instance=instance,
            service_id=instance.service_id,
            replica_id=self._replica_id,
            token_id=opening.credential.token_id,
            protocol_version=hello.protocol_version,
            capabilities=list(hello.capabilities),
            accepted_capabilities=list(hello.accepted_capabilities),
            peer_address=opening.peer_address,
            runtime_hostname=hello.runtime.hostname,
            runtime_pid=hello.runtime.pid,
            runtime_started_at=hello.runtime.started_at,
            # A reconnect of the same process does not restart the damping.
            took_over_at=now if is_takeover else current.took_over_at if current else None,
            connected_at=now,
            last_hello_at=now,
            last_message_at=now,
        )
        meta = {"session_id": session.public_id, "peer_address": opening.peer_address}
        self._events.append(portal_event(EventKind.SESSION_OPENED, at=now, instance=instance, meta=meta))
        return session

    def _note_conflict(self, instance: Instance, current: Session, hello: Hello) -> None:
        """Show the conflict on the instance; one event per takeover interval says who claims it."""
        self._in_conflict.append(instance.pk)
        seen = instance.conflict_seen_at
        if seen is not None and self._now - seen < _takeover_interval():
            return
        claimants = [
            {"hostname": current.runtime_hostname, "pid": current.runtime_pid, "peer_address": current.peer_address},
            {"hostname": hello.runtime.hostname, "pid": hello.runtime.pid},
        ]
        self._events.append(
            portal_event(EventKind.INSTANCE_CONFLICT, at=self._now, instance=instance, meta={"claimants": claimants})
        )

    def _supersede(self, sessions: Sequence[Session], instances: Mapping[UUID, Instance]) -> None:
        if not sessions:
            return
        Session.objects.filter(pk__in=[session.pk for session in sessions]).update(
            status=Session.Status.SUPERSEDED,
            superseded_at=self._now,
            disconnected_at=self._now,
            end_reason="superseded",
            updated_at=self._now,
        )
        held: dict[UUID, list[UUID]] = {}
        for session in sessions:
            self._events.append(
                portal_event(
                    EventKind.SESSION_SUPERSEDED,
                    at=self._now,
                    instance=instances[session.instance_id],
                    meta={"session_id": session.public_id},
                )
            )
            if session.replica_id is not None:
                held.setdefault(session.replica_id, []).append(session.instance_id)
        transaction.on_commit(lambda: _hint_holders(held), robust=True)

    def _describe_instances(self, let_in: Sequence[tuple[Opening, Instance, Session]]) -> None:
        """One statement for what the hellos say of their instances; a hello alone makes an instance online."""
        rows = []
        for opening, instance, _session in let_in:
            hello = opening.hello
            _forget_other_process(instance, hello)
            describe_instance(instance, hello.service, hello.runtime)
            if instance.connectivity != Connectivity.ONLINE:
                instance.connectivity, instance.connectivity_changed_at = Connectivity.ONLINE, self._now
                self._events.append(portal_event(EventKind.INSTANCE_ONLINE, at=self._now, instance=instance))
            instance.last_seen_at = instance.updated_at = self._now
            rows.append(tuple(getattr(instance, name) for name in _HELLO_COLUMNS))
        update_from_values(Instance, _HELLO_COLUMNS, rows, assignments=_HELLO_ASSIGNMENTS)
        restore_heard((instance for _opening, instance, _session in let_in), at=self._now)


def _hint_holders(held: Mapping[UUID, Sequence[UUID]]) -> None:
    for replica_id, instance_ids in held.items():
        hint_replicas([replica_id], instance_ids)


def _forget_other_process(instance: Instance, hello: Hello) -> None:
    """Let the process that now holds the identity count, though it may have started before the one that held it.

    A clone that took the identity for a while would otherwise silence the survivor for good, and so would a process
    whose clock ran ahead. Must come before the instance is described anew.
    """
    if (instance.hostname, instance.pid, instance.started_at) != hello.runtime.process:
        instance.last_heartbeat_started_at = None
        instance.last_sync_started_at = None


_HELLO_COLUMNS = (
    "id",
    *FACT_COLUMNS,
    "connectivity",
    "connectivity_changed_at",
    "last_seen_at",
    "last_heartbeat_started_at",
    "last_sync_started_at",
    "updated_at",
)
_HELLO_ASSIGNMENTS = ", ".join(f"{name} = v.{name}" for name in _HELLO_COLUMNS[1:])


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


@transaction.atomic
def end_sessions(sessions: QuerySet[Session], *, reason: str) -> int:
    """End those of `sessions` that are active, with an event each; returns how many ended."""
    now = timezone.now()
    active = list(
        sessions.filter(status=Session.Status.ACTIVE)
        .select_related("instance")
        .defer("capabilities", "accepted_capabilities")
        .select_for_update(of=("self",))
        .order_by("pk")
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
        list(touches),
        assignments="last_message_at = v.last_message_at",
        condition="t.last_message_at < v.last_message_at",
    )
