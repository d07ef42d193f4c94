"""What can go wrong with agents, one class per cause."""

from typing import Literal

from controlplane.common.errors import Conflict, ControlPlaneError, Forbidden, Invalid, NotFound


class InstanceUnknown(NotFound):
    """There is no such instance."""

    code = "instance_unknown"


class CommandUnknown(NotFound):
    """There is no such command, or it was sent to another instance."""

    code = "unknown_command"


class CommandNotPending(Conflict):
    """Only a pending command can be cancelled."""

    code = "command_not_pending"


class CommandRefused(Conflict):
    """The instance cannot take this command now; `code` says which rule refused it."""

    code = "command_refused"


class FanOutGiven(Conflict):
    """This order was given already."""

    code = "fan_out_given"


class TargetsChanged(Conflict):
    """Other instances are meant by now than when this was looked at."""

    code = "targets_changed"


class GroupNameTaken(Conflict):
    """There is a group of this name already."""

    code = "name_taken"


class DuplicateResult(Conflict):
    """The command has its result already."""

    code = "duplicate_command_result"


class InstanceConflict(Conflict):
    """The identity belongs to another service, another dialect or another live process."""

    code = "instance_conflict"


# What is said to whoever speaks meanwhile, over a session or to the registry.
LEAVING = "%s is being forgotten. Come again in a while: once that is done, you are let in as a new instance."


class InstanceOnline(Conflict):
    """The instance is online or connected: it is neither archived nor forgotten."""

    code = "instance_online"


class InstanceLeaving(InstanceConflict):
    """The instance or its service is being forgotten; once that is done, it is let in as a new one."""

    code = "instance_being_forgotten"
    retryable = True


class RemovalRunning(Conflict):
    """It is being forgotten already."""

    code = "removal_running"


class NameNotRepeated(Invalid):
    """Forgetting asks for the name of what is to be forgotten."""

    code = "name_not_repeated"


class ReplicaStopped(Conflict):
    """This process was declared dead; it opens no sessions until it has a new name."""

    code = "replica_stopped"
    retryable = True


class SessionEnded(Conflict):
    """The session is no longer the instance's active one; `reason` says why: `superseded` or `lost`."""

    code = "session_ended"

    def __init__(self, reason: Literal["superseded", "lost"]) -> None:
        super().__init__()
        self.reason = reason


class NodeOfOther(ControlPlaneError):
    """The id of a registration belongs to a node with another name."""

    code = "node_name_mismatch"


class NodesFull(Invalid):
    """There are as many nodes as NODES_MAX allows."""

    code = "nodes_full"


class NodeElsewhere(Forbidden):
    """The token does not speak for the environment of the node."""

    code = "node_elsewhere"


class NodeSetMeanwhile(Conflict):
    """Somebody else set config or labels of the node since they were read."""

    code = "node_set_meanwhile"
