"""One module per noun; import models from here."""

from agents.models.background import BackgroundJob
from agents.models.clock import ClockCorrection
from agents.models.command import Command
from agents.models.event import Event
from agents.models.fan_out import FanOut, FanOutTarget
from agents.models.group import Group
from agents.models.instance import Instance
from agents.models.inventory import HostAddress, InstanceFacts, InstanceLabels
from agents.models.node import Node, NodeCounter, NodesFile
from agents.models.removal import Removal
from agents.models.replica import Replica
from agents.models.saved_view import SavedView
from agents.models.service import Service
from agents.models.session import Session
from agents.models.storage import RetentionResult, TableSize
from agents.models.token import AgentToken
from agents.models.totals import CommandTotals

__all__ = [
    "AgentToken",
    "BackgroundJob",
    "ClockCorrection",
    "Command",
    "CommandTotals",
    "Event",
    "FanOut",
    "FanOutTarget",
    "Group",
    "HostAddress",
    "Instance",
    "InstanceFacts",
    "InstanceLabels",
    "Node",
    "NodeCounter",
    "NodesFile",
    "Removal",
    "Replica",
    "RetentionResult",
    "SavedView",
    "Service",
    "Session",
    "TableSize",
]
