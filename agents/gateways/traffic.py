"""What the sockets of a process have seen since it started, counted in plain numbers on its event loop."""

from collections import Counter
from typing import TypedDict

# Agents name the type of their frames; what none of these is counts under one name, so that nobody makes up series.
FRAME_TYPES = frozenset({"hello", "telemetry", "command_ack", "command_result"})
OTHER_FRAME = "other"
_RATE_OVER_AT_LEAST_S = 1.0


class TrafficFigures(TypedDict):
    """Counts since the start of the process, as published with its pulse."""

    frames_received: dict[str, int]
    frames_refused: dict[str, int]
    records_refused: dict[str, int]
    connections_refused: dict[str, int]
    sessions_opened: int
    sessions_ended: dict[str, int]
    # Frames that came per second, over the time between the last two pulses.
    frames_per_s: float


class Traffic:
    """Not thread-safe: for one event loop. Keys are the portal's own words, never an agent's.

    Frames are counted by type and by the code of their refusal, records by channel, connections by why they were
    refused, sessions by the status that they ended in.
    """

    __slots__ = (
        "_counted",
        "_counted_at",
        "connections_refused",
        "frames_per_s",
        "frames_received",
        "frames_refused",
        "records_refused",
        "sessions_ended",
        "sessions_opened",
    )

    def __init__(self) -> None:
        self.frames_received: Counter[str] = Counter()
        self.frames_refused: Counter[str] = Counter()
        self.records_refused: Counter[str] = Counter()
        self.connections_refused: Counter[str] = Counter()
        self.sessions_opened = 0
        self.sessions_ended: Counter[str] = Counter()
        self.frames_per_s = 0.0
        self._counted = 0
        self._counted_at: float | None = None

    def received(self, frame_type: str) -> None:
        self.frames_received[frame_type if frame_type in FRAME_TYPES else OTHER_FRAME] += 1

    def pulse(self, now: float) -> None:
        """Take the rate of frames anew, at `now` of a clock that only goes forward; pulses may come at once."""
        counted = self.frames_received.total()
        if self._counted_at is not None:
            if now - self._counted_at < _RATE_OVER_AT_LEAST_S:
                return
            self.frames_per_s = (counted - self._counted) / (now - self._counted_at)
        self._counted, self._counted_at = counted, now

    def snapshot(self) -> TrafficFigures:
        return {
            "frames_received": dict(self.frames_received),
            "frames_refused": dict(self.frames_refused),
            "records_refused": dict(self.records_refused),
            "connections_refused": dict(self.connections_refused),
            "sessions_opened": self.sessions_opened,
            "sessions_ended": dict(self.sessions_ended),
            "frames_per_s": round(self.frames_per_s, 2),
        }
