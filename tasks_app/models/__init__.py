"""One module per noun; import models from here."""

from tasks_app.models.metric import CustomMetric, MetricWindow
from tasks_app.models.rollup import WorkRollup
from tasks_app.models.task import AppSnapshot, Task, TaskControls
from tasks_app.models.totals import CustomMetricTotals, TaskTotals

__all__ = [
    "AppSnapshot",
    "CustomMetric",
    "CustomMetricTotals",
    "MetricWindow",
    "Task",
    "TaskControls",
    "TaskTotals",
    "WorkRollup",
]
