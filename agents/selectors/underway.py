"""Long work that is under way now: orders for many, removals, background jobs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agents.models import BackgroundJob, Command, FanOut, Removal
from agents.selectors.fan_outs import command_counts, running

SHOWN: Final = 5
# What a job does in less is no news by the time that it is read.
LONG_JOB: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class RunningFanOut:
    """`done` of `total` commands have ended, `failed` of these without success."""

    fan_out: FanOut
    total: int
    done: int
    failed: int

    @property
    def open(self) -> int:
        return self.total - self.done


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The newest of each kind, and of fan-outs and removals how many there are beyond them."""

    fan_outs: list[RunningFanOut]
    more_fan_outs: int
    removals: list[Removal]
    more_removals: int
    jobs: list[BackgroundJob]

    @property
    def is_empty(self) -> bool:
        return not (self.fan_outs or self.removals or self.jobs)


def under_way(now: datetime) -> UnderWay:
    """What is under way. Four queries, three where no order is."""
    # Nothing that is not kept open by a command or a step of the portal is in either list: both are short.
    orders = list(running().select_related("service").defer("args").order_by("-created_at", "-id")[: 10 * SHOWN])
    removals = list(Removal.objects.filter(finished_at=None).order_by("-requested_at", "-id")[: 10 * SHOWN])
    jobs = BackgroundJob.objects.filter(running_until__gt=now, last_started_at__lt=now - LONG_JOB).order_by("name")
    return UnderWay(
        fan_outs=progress_of(orders[:SHOWN]),
        more_fan_outs=max(0, len(orders) - SHOWN),
        removals=removals[:SHOWN],
        more_removals=max(0, len(removals) - SHOWN),
        jobs=list(jobs),
    )


def progress_of(fan_outs: list[FanOut]) -> list[RunningFanOut]:
    """How far each is; one query, none for none."""
    counts = command_counts(fan_outs) if fan_outs else {}
    progress = []
    for fan_out in fan_outs:
        statuses = counts[fan_out.pk]
        still = sum(statuses[status] for status in Command.OPEN)
        total = statuses.total()
        done = total - still
        progress.append(RunningFanOut(fan_out, total, done, done - statuses[Command.Status.SUCCEEDED]))
    return progress
