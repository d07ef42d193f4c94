"""Factories make the smallest valid row and never surprise. Import them from here."""

from tests.factories.access import ApiTokenFactory, UserFactory
from tests.factories.agents import (
    ONESTEP_CAPABILITIES,
    AgentTokenFactory,
    BackgroundJobFactory,
    CommandFactory,
    EventFactory,
    FanOutFactory,
    GroupFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ReplicaFactory,
    ServiceFactory,
    SessionFactory,
)
from tests.factories.tasks_app import (
    AppSnapshotFactory,
    CustomMetricFactory,
    MetricWindowFactory,
    TaskControlsFactory,
    TaskFactory,
    task_control,
)

__all__ = [
    "ONESTEP_CAPABILITIES",
    "AgentTokenFactory",
    "ApiTokenFactory",
    "AppSnapshotFactory",
    "BackgroundJobFactory",
    "CommandFactory",
    "CustomMetricFactory",
    "EventFactory",
    "FanOutFactory",
    "GroupFactory",
    "InstanceFactory",
    "InstanceLabelsFactory",
    "MetricWindowFactory",
    "ReplicaFactory",
    "ServiceFactory",
    "SessionFactory",
    "TaskControlsFactory",
    "TaskFactory",
    "UserFactory",
    "task_control",
]
