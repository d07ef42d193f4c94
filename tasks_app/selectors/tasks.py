"""Tasks of one service with their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.models import Event, Service
from agents.models.instance import Connectivity
from agents.selectors.events import TASK_EVENT_KINDS, latest_possible
from controlplane.common.errors import NotFound
from tasks_app.models import MetricWindow, Task
from tasks_app.selectors import labels
from tasks_app.selectors.controls import Controls, control_summary, instance_controls
from tasks_app.selectors.figures import (
    EventFigures,
    WindowFigures,
    error_count,
    events_by_task,
    windows_by_task,
)
from tasks_app.selectors.lookback import Lookback
from tasks_app.selectors.newest import newest_events, newest_windows


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task as its service shows it. `task` is an unsaved empty definition where no sync told of it.

    `pause_requested` is None where no online instance said anything. Source: contract 4.2, 4.3.
    """

    task: Task
    windows: WindowFigures
    events: EventFigures
    latest_window: tuple[datetime, datetime] | None
    last_event_at: datetime | None
    pause_requested: bool | None
    supported_commands: list[str]
    has_online_instance: bool
    lookback: Lookback

    @property
    def latest_window_started_at(self) -> datetime | None:
        return self.latest_window[0] if self.latest_window else None

    @property
    def latest_window_ended_at(self) -> datetime | None:
        return self.latest_window[1] if self.latest_window else None

    @property
    def uptime_reference_at(self) -> datetime | None:
        """When the task last gave a sign of life."""
        return max((at for at in (self.latest_window_ended_at, self.last_event_at) if at), default=None)

    @property
    def error_count(self) -> int:
        return error_count(self.events, self.windows)

    @property
    def success_rate(self) -> float:
        return self.windows.success_rate

    @property
    def throughput_per_min(self) -> float:
        return self.windows.throughput_per_min(self.lookback)

    @property
    def view_status(self) -> str:
        if self.pause_requested:
            return "paused"
        if self.error_count:
            return "failed"
        if self.windows.counters["started"] or self.windows.counters["succeeded"]:
            return "running"
        return "idle" if self.has_online_instance else "offline"

    @property
    def source_label(self) -> str | None:
        return labels.source_label(self.task)

    @property
    def sink_label(self) -> str | None:
        return labels.sink_label(self.task)

    @property
    def retry_attempts(self) -> int:
        return labels.retry_attempts(self.task)

    @property
    def config_yaml(self) -> str | None:
        return labels.config_yaml(self.task) if self.task.pk else None


def task_summaries(service: Service, lookback: Lookback) -> list[TaskSummary]:
    """Every task that the service shows, latest activity first, then by name descending.

    Six queries, two more where no task is defined. Shown are the defined tasks and those that online instances report;
    where there is neither, those in the windows and events of a day. Source: contract 4.1, 4.3.
    """
    defined = {task.name: task for task in Task.objects.filter(service=service).order_by()}
    online = instance_controls(service, online_only=True)
    names = set(defined) | _controlled_names(online)
    if not defined:
        names |= reported_task_names(service, lookback)
    figures = _Figures(
        windows_by_task(service, lookback),
        events_by_task(service, lookback),
        newest_windows(service, names),
        newest_events(service, names),
    )
    summaries = [
        _summary(defined.get(name) or Task(service=service, name=name), online, figures, lookback) for name in names
    ]
    by_name = sorted(summaries, key=lambda summary: summary.task.name, reverse=True)
    return sorted(by_name, key=_activity, reverse=True)


def task_summary(service: Service, task_name: str, lookback: Lookback, *, controls: Sequence[Controls]) -> TaskSummary:
    """One of them, or NotFound with the text that clients know; `controls` are what all instances say of it at least.

    Six queries, two more where no task is defined.
    """
    online = [each for each in controls if each.connectivity == Connectivity.ONLINE]
    task = _shown_task(service, task_name, online, lookback)
    figures = _Figures(
        windows_by_task(service, lookback, task_name=task_name),
        events_by_task(service, lookback, task_name=task_name),
        newest_windows(service, [task_name]),
        newest_events(service, [task_name]),
    )
    return _summary(task, online, figures, lookback)


def _shown_task(service: Service, task_name: str, online: Sequence[Controls], lookback: Lookback) -> Task:
    """The definition of a task that the service shows, an unsaved empty one where no sync told of it; or NotFound."""
    defined = Task.objects.filter(service=service)
    task = defined.filter(name=task_name).first()
    if task is not None:
        return task
    is_shown = task_name in _controlled_names(online) or (
        not defined.exists() and task_name in reported_task_names(service, lookback)
    )
    if not is_shown:
        raise NotFound(_unknown_task(service, task_name), code="task_not_found")
    return Task(service=service, name=task_name)


def ensure_task_exists(service: Service, task_name: str) -> None:
    """Raise NotFound where the service told what it runs and nobody in it knows the task.

    A service that never told anything gets the benefit of the doubt: each instance is asked for its own state.
    """
    defined = Task.objects.filter(service=service)
    if not defined.exists() or defined.filter(name=task_name).exists():
        return
    online = instance_controls(service, online_only=True, task_name=task_name)
    if task_name not in _controlled_names(online):
        raise NotFound(_unknown_task(service, task_name), code="task_not_found")


def reported_task_names(service: Service, lookback: Lookback) -> set[str]:
    """Task names in the windows and events of the last day, for services that never told what they run."""
    start, end = lookback.widest().started_at, latest_possible()
    windows = MetricWindow.objects.filter(service=service, window_ended_at__gte=start, window_ended_at__lte=end)
    events = Event.objects.filter(
        service=service, kind__in=TASK_EVENT_KINDS, occurred_at__gte=start, occurred_at__lte=end
    )
    return {
        *windows.order_by().values_list("task_name", flat=True).distinct(),
        *events.order_by().values_list("task_name", flat=True).distinct(),
    }


def definitions(pairs: set[tuple[int, str]]) -> Mapping[tuple[int, str], Task]:
    """The definitions of these (service id, task name) pairs, as far as there are any; one query."""
    if not pairs:
        return {}
    rows = Task.objects.filter(
        service__in={service_id for service_id, _ in pairs}, name__in={name for _, name in pairs}
    ).only("service_id", "name", "source_name", "source_config")
    return {(task.service_id, task.name): task for task in rows}


def _unknown_task(service: Service, task_name: str) -> str:
    return f"task {task_name} was not found for service {service.name}/{service.environment}"


@dataclass(frozen=True, slots=True)
class _Figures:
    """All figures of one service's tasks, by name."""

    windows: Mapping[str, WindowFigures]
    events: Mapping[str, EventFigures]
    latest_windows: Mapping[str, tuple[datetime, datetime]]
    latest_events: Mapping[str, datetime]


def _summary(task: Task, online: Sequence[Controls], figures: _Figures, lookback: Lookback) -> TaskSummary:
    said = control_summary(online, task.name)
    return TaskSummary(
        task=task,
        windows=figures.windows.get(task.name, WindowFigures()),
        events=figures.events.get(task.name, EventFigures()),
        latest_window=figures.latest_windows.get(task.name),
        last_event_at=figures.latest_events.get(task.name),
        pause_requested=said.pause_requested,
        supported_commands=said.supported_commands,
        has_online_instance=bool(online),
        lookback=lookback,
    )


def _controlled_names(online: Sequence[Controls]) -> set[str]:
    return {name for each in online for name in each.states}


def _activity(summary: TaskSummary) -> float:
    latest = summary.uptime_reference_at
    return latest.timestamp() if latest else float("-inf")
