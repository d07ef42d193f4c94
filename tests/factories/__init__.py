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
from tests.factories.notifications import (
    AlertFactory,
    AlertMemberFactory,
    AttemptFactory,
    ChannelFactory,
    DeliveryFactory,
    RuleFactory,
    SilenceFactory,
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
    "AlertFactory",
    "AlertMemberFactory",
    "ApiTokenFactory",
    "AppSnapshotFactory",
    "AttemptFactory",
    "BackgroundJobFactory",
    "ChannelFactory",
    "CommandFactory",
    "CustomMetricFactory",
    "DeliveryFactory",
    "EventFactory",
    "FanOutFactory",
    "GroupFactory",
    "InstanceFactory",
    "InstanceLabelsFactory",
    "MetricWindowFactory",
    "ReplicaFactory",
    "RuleFactory",
    "ServiceFactory",
    "SessionFactory",
    "SilenceFactory",
    "TaskControlsFactory",
    "TaskFactory",
    "UserFactory",
    "task_control",
]
