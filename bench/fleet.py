"""The agents of one load process: connecting them, and sending in closed or open loop."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from bench.agent import PING_EVERY, Agent, Log, Refused, Target
from bench.frames import AgentFrames, Identity

# How many frames a closed loop keeps on the way to the server, per agent: few, since agents at work never send one
# heartbeat after the other, which the portal could store as one.
ON_THE_WAY = 2.0
# Of the frames that no pong has confirmed yet, so many per agent are read all the same: its last ping is that old.
_UNCONFIRMED = (PING_EVERY - 1) / 2
# An agent that is so far behind is left out until it has caught up.
_UNREAD_MAX = 8 * PING_EVERY
# Frames between two looks at the sockets.
_BURST = 32
_TICK_S = 0.002
# An open loop gives up a frame rather than queue more than this for one socket.
_UNSENT_MAX_BYTES = 256 * 1024
# What a flood keeps ready for the kernel, and about what the kernel keeps.
_FLOOD_UNSENT_BYTES = 64 * 1024
# As the real client begins, where nobody listens.
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Marks:
    """The newest that was sent of each kind, by instance: what must be in the database for all to be durable."""

    heartbeats: dict[UUID, int] = field(default_factory=dict)
    events: dict[UUID, str] = field(default_factory=dict)
    windows: dict[UUID, int] = field(default_factory=dict)

    def merged(self, other: "Marks") -> "Marks":
        return Marks(self.heartbeats | other.heartbeats, self.events | other.events, self.windows | other.windows)


@dataclass(frozen=True, slots=True)
class Driven:
    """What a drive sent: frames, and records by kind. Times are wall-clock seconds; `late_s` is the worst lag of an
    open loop behind its schedule, `withheld` the frames that it left out because a socket took no more."""

    frames: int
    heartbeats: int
    events: int
    windows: int
    began_at: float
    ended_at: float
    late_s: float
    withheld: int
    marks: Marks

    def merged(self, other: "Driven") -> "Driven":
        return Driven(
            frames=self.frames + other.frames,
            heartbeats=self.heartbeats + other.heartbeats,
            events=self.events + other.events,
            windows=self.windows + other.windows,
            began_at=min(self.began_at, other.began_at),
            ended_at=max(self.ended_at, other.ended_at),
            late_s=max(self.late_s, other.late_s),
            withheld=self.withheld + other.withheld,
            marks=self.marks.merged(other.marks),
        )


@dataclass(frozen=True, slots=True)
class Connected:
    """How dialling went. Times are wall-clock seconds; the first one is when a server first answered
    an upgrade."""

    count: int
    attempts: int
    first_answer_at: float
    last_acked_at: float
    refused_with_hint: int
    refused_without_hint: int
    dropped: int

    def merged(self, other: "Connected") -> "Connected":
        return Connected(
            count=self.count + other.count,
            attempts=self.attempts + other.attempts,
            first_answer_at=min(self.first_answer_at, other.first_answer_at),
            last_acked_at=max(self.last_acked_at, other.last_acked_at),
            refused_with_hint=self.refused_with_hint + other.refused_with_hint,
            refused_without_hint=self.refused_without_hint + other.refused_without_hint,
            dropped=self.dropped + other.dropped,
        )


def _nothing() -> None:
    """Nobody waits for pongs."""


class Sender:
    """Builds and counts the frames of one kind: `heartbeat`, `events`, `metrics`, or `mixed`, which is each in turn."""

    def __init__(self, kind: str, records: int) -> None:
        self._kinds = ("heartbeat", "events", "metrics") if kind == "mixed" else (kind,)
        self._records = records
        self._turn: dict[UUID, int] = {}
        self.frames = self.heartbeats = self.events = self.windows = 0
        self.marks = Marks()

    def build(self, frames: AgentFrames) -> bytes:
        self.frames += 1
        instance_id = frames.instance_id
        kind = self._kinds[0]
        if len(self._kinds) > 1:
            turn = self._turn.get(instance_id, frames.identity.index)
            self._turn[instance_id] = turn + 1
            kind = self._kinds[turn % len(self._kinds)]
        if kind == "heartbeat":
            built = frames.heartbeat()
            self.heartbeats += 1
            self.marks.heartbeats[instance_id] = frames.number
        elif kind == "events":
            built = frames.events(self._records)
            self.events += self._records
            self.marks.events[instance_id] = frames.last_event_id
        else:
            count = min(self._records, frames.task_count)
            built = frames.metrics(count)
            self.windows += count
            self.marks.windows[instance_id] = frames.number
        return built


class Fleet:
    """The agents of one load process, by index."""

    def __init__(self, run: str, indices: Sequence[int], service_count: int) -> None:
        self.log = Log.empty()
        self.frames = {
            index: AgentFrames(Identity(run, index, f"bench-{index % service_count:02d}")) for index in indices
        }
        self.agents: dict[int, Agent] = {}
        self._on_pong: Callable[[], None] = _nothing

    # --- connecting

    async def connect(
        self, targets: Sequence[Target], *, at_once: int, sync: bool, give_up_s: float
    ) -> tuple[Connected, Marks]:
        """Dial for every agent that is not connected, `at_once` of them at a time, until all are acknowledged.

        Agents are dealt over the targets by index. After the acknowledgement an agent sends its topology and a
        heartbeat, as the real one does, unless `sync` is False. Refused ones wait as long as they are told.
        """
        dialling = _Dialling(self, targets, asyncio.Semaphore(at_once), sync=sync, give_up_at=time.time() + give_up_s)
        missing = [index for index in self.frames if index not in self.agents or not self.agents[index].is_open]
        await asyncio.gather(*(dialling.dial(index) for index in missing))
        return dialling.connected(), dialling.marks

    def take_log(self) -> Log:
        """What happened to the sockets since the last call."""
        return self.log.taken()

    def add(self, index: int, agent: Agent) -> None:
        self.agents[index] = agent

    def pong(self) -> None:
        self._on_pong()

    def open_agents(self) -> list[Agent]:
        return [agent for agent in self.agents.values() if agent.is_open]

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()
        self.agents.clear()

    # --- sending

    async def drive(self, kind: str, records: int, seconds: float, rate: float | None) -> Driven:
        """Send for `seconds`: as fast as the server reads, or `rate` frames a second whatever it does."""
        sender = Sender(kind, records)
        began = time.time()
        late, withheld = 0.0, 0
        if rate is None:
            await self._closed_loop(sender, seconds)
        else:
            late, withheld = await self._open_loop(sender, seconds, rate)
        return Driven(
            frames=sender.frames,
            heartbeats=sender.heartbeats,
            events=sender.events,
            windows=sender.windows,
            began_at=began,
            ended_at=time.time(),
            late_s=late,
            withheld=withheld,
            marks=sender.marks,
        )

    async def flood(self, records: int, seconds: float) -> Driven:
        """Send events for `seconds`, as fast as the sockets take them, whatever the server says."""
        sender = Sender("events", records)
        for agent in self.open_agents():
            # Megabytes in the kernel would go on flooding long after the end.
            agent.keep_kernel_buffer_small(_FLOOD_UNSENT_BYTES)
        began = time.time()
        while time.time() - began < seconds:
            for agent in self.open_agents():
                while agent.is_open and agent.unsent_bytes < _FLOOD_UNSENT_BYTES:
                    agent.write(sender.build(agent.frames))
            await asyncio.sleep(_TICK_S)
        return Driven(sender.frames, 0, sender.events, 0, began, time.time(), 0.0, 0, sender.marks)

    async def _closed_loop(self, sender: Sender, seconds: float) -> None:
        """One frame of every agent in turn, as long as not too many of all are unread by the server."""
        agents = self.open_agents()
        window = len(agents) * (ON_THE_WAY + _UNCONFIRMED)
        unread = sum(agent.unread for agent in agents)
        read = asyncio.Event()

        def on_pong() -> None:
            nonlocal unread
            unread -= PING_EVERY
            read.set()

        self._on_pong = on_pong
        deadline = time.monotonic() + seconds
        turn = itertools.cycle(agents)
        while (left := deadline - time.monotonic()) > 0 and any(agent.is_open for agent in agents):
            for agent in itertools.islice(turn, _BURST if unread < window else 0):
                if agent.is_open and agent.unread < _UNREAD_MAX:
                    agent.send(sender.build(agent.frames))
                    unread += 1
            if unread < window:
                await asyncio.sleep(0)
                continue
            read.clear()
            try:
                async with asyncio.timeout(left):
                    await read.wait()
            except TimeoutError:
                break
        self._on_pong = _nothing

    async def _open_loop(self, sender: Sender, seconds: float, rate: float) -> tuple[float, int]:
        """A fixed rate, dealt over the agents in turn; returns the worst lag in seconds, and what was withheld."""
        agents = self.open_agents()
        began = time.monotonic()
        due = done = withheld = 0
        late = 0.0
        total = round(rate * seconds)
        while done < total and agents:
            now = time.monotonic() - began
            due = min(total, int(now * rate))
            late = max(late, now - done / rate)
            while done < due:
                agent = agents[done % len(agents)]
                done += 1
                if agent.is_open and agent.unsent_bytes < _UNSENT_MAX_BYTES:
                    agent.send(sender.build(agent.frames))
                else:
                    withheld += 1
            await asyncio.sleep(_TICK_S)
        return late, withheld


class _Dialling:
    """One round of connecting."""

    def __init__(
        self,
        fleet: Fleet,
        targets: Sequence[Target],
        at_once: asyncio.Semaphore,
        *,
        sync: bool,
        give_up_at: float,
    ) -> None:
        self._fleet = fleet
        self._targets = targets
        self._at_once = at_once
        self._sync = sync
        self._give_up_at = give_up_at
        self._first_answer_at = float("inf")
        self._last_acked_at = 0.0
        self._count = self._attempts = self._hinted = self._unhinted = self._dropped = 0
        self.marks = Marks()

    async def dial(self, index: int) -> None:
        """Try until the hello is acknowledged or it is time to give up."""
        frames = self._fleet.frames[index]
        target = self._targets[index % len(self._targets)]
        while time.time() < self._give_up_at:
            async with self._at_once:
                pause_s = await self._try(index, frames, target)
            if pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def _try(self, index: int, frames: AgentFrames, target: Target) -> float | None:
        """None when the agent is in, else how many seconds to wait before the next try."""
        agent = Agent(frames, target, self._fleet.log, self._fleet.pong)
        self._attempts += 1
        try:
            async with asyncio.timeout(max(0.1, self._give_up_at - time.time())):
                await agent.connect()
        except Refused as refused:
            self._fleet.log.refusals[str(refused.status)] += 1
            if refused.retry_after_s is None:
                self._unhinted += 1
                return _RETRY_S
            self._hinted += 1
            # Agents do not keep step with each other.
            return refused.retry_after_s * random.uniform(1, 1.25)
        except ConnectionRefusedError:
            return _RETRY_S
        except (OSError, TimeoutError):
            self._dropped += 1
            agent.close()
            return _RETRY_S
        finally:
            self._first_answer_at = min(self._first_answer_at, agent.answered_at)
        self._last_acked_at = time.time()
        self._count += 1
        self._fleet.add(index, agent)
        if self._sync:
            agent.write(frames.sync())
            agent.write(frames.heartbeat())
            self.marks.heartbeats[frames.instance_id] = frames.number
        return None

    def connected(self) -> Connected:
        return Connected(
            count=self._count,
            attempts=self._attempts,
            first_answer_at=self._first_answer_at,
            last_acked_at=self._last_acked_at,
            refused_with_hint=self._hinted,
            refused_without_hint=self._unhinted,
            dropped=self._dropped,
        )
