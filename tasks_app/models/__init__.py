"""One module per noun; import models from here."""

from tasks_app.models.metric import CustomMetric, MetricWindow
from tasks_app.models.task import AppSnapshot, Task, TaskControls

__all__ = ["AppSnapshot", "CustomMetric", "MetricWindow", "Task", "TaskControls"]
