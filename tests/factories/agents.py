"""Rows of `agents`: the smallest that are valid, so that a test names only what it is about."""

import hashlib
import uuid
from datetime import timedelta

import factory
from django.utils import timezone

from agents.models import (
    AgentToken,
    BackgroundJob,
    Command,
    Event,
    FanOut,
    Instance,
    InstanceLabels,
    Replica,
    Service,
    Session,
)
from agents.models import Group as SavedGroup
from agents.models.event import EventKind
from agents.models.instance import Connectivity, Dialect, Health

ONESTEP_CAPABILITIES = [
    "telemetry.sync",
    "telemetry.heartbeat",
    "telemetry.metrics",
    "telemetry.events",
    "command.ping",
    "command.sync_now",
    "command.flush_metrics",
    "command.flush_events",
    "command.pause_task",
    "command.resume_task",
    "command.restart_task",
    "command.run_task_once",
    "command.replay_dead_letters",
    "command.discard_dead_letters",
    "command.drain",
    "command.restart",
    "command.shutdown",
]


class ServiceFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Service

    name = factory.Sequence(lambda n: f"service-{n}")
    environment = "dev"


class InstanceFactory(factory.django.DjangoModelFactory):
    """An onestep instance that never reported; `online=True` makes it online, `offline=True` offline since now."""

    class Meta:
        model = Instance

    class Params:
        online = factory.Trait(
            connectivity=Connectivity.ONLINE,
            connectivity_changed_at=factory.LazyFunction(timezone.now),
            last_seen_at=factory.LazyFunction(timezone.now),
            health=Health.OK,
        )
        offline = factory.Trait(
            connectivity=Connectivity.OFFLINE,
            connectivity_changed_at=factory.LazyFunction(timezone.now),
            last_seen_at=factory.LazyFunction(timezone.now),
        )

    id = factory.LazyFunction(uuid.uuid4)
    dialect = Dialect.ONESTEP
    external_id = factory.LazyAttribute(lambda row: str(row.id))
    service = factory.SubFactory(ServiceFactory)
    node_name = factory.Sequence(lambda n: f"node-{n}")


class ReplicaFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Replica

    kind = Replica.Kind.WEB
    host_id = "test-host/boot"
    pid = factory.Sequence(lambda n: 1000 + n)
    process_started_at = factory.LazyFunction(timezone.now)
    last_seen_at = factory.LazyFunction(timezone.now)
    sight_since = factory.SelfAttribute("process_started_at")


class AgentTokenFactory(factory.django.DjangoModelFactory):
    """A usable token; `AgentTokenFactory(secret="oat_mine")` makes one whose secret is known."""

    class Meta:
        model = AgentToken
        exclude = ("secret",)

    secret = factory.Sequence(lambda n: f"oat_test_{n}")
    name = factory.Sequence(lambda n: f"token-{n}")
    prefix = factory.LazyAttribute(lambda row: row.secret[:16])
    secret_hash = factory.LazyAttribute(lambda row: hashlib.sha256(row.secret.encode()).hexdigest())


class SessionFactory(factory.django.DjangoModelFactory):
    """An active session that accepted every capability of the onestep dialect."""

    class Meta:
        model = Session

    instance = factory.SubFactory(InstanceFactory, online=True)
    service = factory.SelfAttribute("instance.service")
    replica = factory.SubFactory(ReplicaFactory)
    protocol_version = "1"
    capabilities = factory.LazyFunction(lambda: list(ONESTEP_CAPABILITIES))
    accepted_capabilities = factory.LazyFunction(lambda: list(ONESTEP_CAPABILITIES))
    connected_at = factory.LazyFunction(timezone.now)
    last_hello_at = factory.SelfAttribute("connected_at")
    last_message_at = factory.SelfAttribute("connected_at")


class CommandFactory(factory.django.DjangoModelFactory):
    """A pending ping."""

    class Meta:
        model = Command

    instance = factory.SubFactory(InstanceFactory)
    service = factory.SelfAttribute("instance.service")
    kind = "ping"
    timeout_s = 10
    created_at = factory.LazyFunction(timezone.now)
    deadline_at = factory.LazyAttribute(lambda row: row.created_at + timedelta(seconds=row.timeout_s))


class EventFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Event

    event_id = factory.Sequence(lambda n: f"event-{n}")
    kind = EventKind.TASK_SUCCEEDED
    occurred_at = factory.LazyFunction(timezone.now)
    received_at = factory.SelfAttribute("occurred_at")
    instance = factory.SubFactory(InstanceFactory)
    service = factory.SelfAttribute("instance.service")
    task_name = factory.LazyAttribute(lambda row: "sync" if row.kind.startswith("task.") else "")


class BackgroundJobFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = BackgroundJob

    name = factory.Sequence(lambda n: f"job-{n}")


class InstanceLabelsFactory(factory.django.DjangoModelFactory):
    """`InstanceLabelsFactory(labels={"env": "prod"})` gives its instance labels that the agent said."""

    class Meta:
        model = InstanceLabels
        exclude = ("labels",)

    labels = factory.LazyFunction(dict)
    instance = factory.SubFactory(InstanceFactory)
    agent = factory.SelfAttribute("labels")
    effective = factory.SelfAttribute("labels")


class GroupFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = SavedGroup

    name = factory.Sequence(lambda n: f"group-{n}")
    selector = "env=prod"


class FanOutFactory(factory.django.DjangoModelFactory):
    """A ping for whom a selector meant; without targets."""

    class Meta:
        model = FanOut

    kind = "ping"
    target_mode = FanOut.Mode.SELECTOR
    selector = "env=prod"
    timeout_s = 10
    created_at = factory.LazyFunction(timezone.now)
