"""Queries of the lists that the contract describes."""

from typing import Any

from rest_framework import serializers

from agents.models import Command, Session
from agents.models.command import CommandKind
from agents.models.instance import Connectivity, Health
from agents.models.service import Environment
from agents.selectors.events import WIRE_EVENT_KINDS
from agents.selectors.instances import ARCHIVED
from controlplane.common.rest.fields import (
    IdField,
    IntegerField,
    PageQuery,
    QuerySerializer,
    TextField,
    TimestampField,
)


def choice(choices: Any) -> serializers.ChoiceField:
    return serializers.ChoiceField(choices=choices, required=False)


def archived_choice() -> serializers.ChoiceField:
    return serializers.ChoiceField(
        choices=ARCHIVED, default="false", help_text="Without the archived ones, nothing but those, or all."
    )


def name(**kwargs: Any) -> TextField:
    """An exact name, spaces and all."""
    return TextField(required=False, trim_whitespace=False, max_length=255, **kwargs)


class ServiceQuery(QuerySerializer):
    """Services are known by name and environment, so every path below a service needs it."""

    environment = serializers.ChoiceField(choices=Environment.choices)


class ServicePageQuery(PageQuery, ServiceQuery):
    pass


class InstanceCommandsQuery(PageQuery):
    limit = IntegerField(from_text=True, default=20, min_value=1, max_value=100)


class ServiceInstancesQuery(ServicePageQuery):
    connectivity = choice(Connectivity.choices)
    status = choice(Health.choices)


class ServiceSessionsQuery(ServicePageQuery):
    instance_id = IdField(required=False)
    status = choice(Session.Status.choices)


class ServiceCommandsQuery(ServicePageQuery):
    instance_id = IdField(required=False)
    kind = choice(CommandKind.choices)
    status = choice(Command.Status.choices)


class ServiceEventsQuery(ServicePageQuery):
    task_name = name()
    kind = choice(WIRE_EVENT_KINDS)
    instance_id = IdField(required=False)
    occurred_after = TimestampField(required=False)
    occurred_before = TimestampField(required=False)


class EventsQuery(PageQuery):
    environment = choice(Environment.choices)
    kind = choice(WIRE_EVENT_KINDS)
    service_name = name()
    occurred_after = TimestampField(required=False)
    occurred_before = TimestampField(required=False)
