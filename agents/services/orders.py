"""Orders: what is asked of instances, checked before anyone looks at a single instance."""

from dataclasses import dataclass, field, replace

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from agents.models import Command
from agents.models.command import HOLDABLE_KINDS, REASON_KINDS, TASK_KINDS, CommandKind
from controlplane.common.clean import clean_json
from controlplane.common.errors import Invalid

REASON_MAX_LENGTH = 2000
TASK_NAME_MAX_LENGTH = 255
_KINDS = frozenset(CommandKind.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is ordered, whoever the targets are. `hold` lets it wait for an instance that is not connected."""

    kind: str
    args: dict[str, object] = field(default_factory=dict)
    timeout_s: int = settings.COMMAND_TIMEOUT_DEFAULT_S
    hold: bool = False
    reason: str = ""
    surface: str = Command.Surface.UNKNOWN

    @property
    def task_name(self) -> str:
        """The task that a task command is for, else ""."""
        name = self.args.get("task_name", "")
        return name if self.kind in TASK_KINDS and isinstance(name, str) else ""


def validate_order(order: Order) -> Order:
    """The order with its text trimmed; raises Invalid, naming the field, where it can never be right.

    Source: contract 3.1; the size limit is 1.2's, less the envelope.
    """
    if order.kind not in _KINDS:
        raise Invalid(_("Unknown command kind: %s.") % order.kind[:64], field="kind")
    if not 1 <= order.timeout_s <= settings.COMMAND_TIMEOUT_MAX_S:
        raise Invalid(
            _("The timeout must be between 1 and %d seconds.") % settings.COMMAND_TIMEOUT_MAX_S, field="timeout_s"
        )
    reason = order.reason.strip()
    if len(reason) > REASON_MAX_LENGTH:
        raise Invalid(_("The reason may have %d characters at most.") % REASON_MAX_LENGTH, field="reason")
    if order.kind in REASON_KINDS and not reason:
        raise Invalid(_("This command needs a reason."), field="reason")
    if order.hold and order.kind not in HOLDABLE_KINDS:
        raise Invalid(
            _("This command cannot wait for a reconnect; send it while the instance is connected."), field="hold"
        )
    _validate_args(order)
    return replace(order, reason=reason)


def _validate_args(order: Order) -> None:
    args = order.args
    if clean_json(args) != args:
        raise Invalid(
            _("The arguments hold what cannot be stored: NaN, NUL, lone surrogates, huge numbers or deep nesting."),
            field="args",
        )
    size = len(msgspec.json.encode(args))
    if size > settings.COMMAND_ARGS_MAX_BYTES:
        raise Invalid(
            _("The arguments take %(size)d bytes; the agent accepts %(limit)d at most.")
            % {"size": size, "limit": settings.COMMAND_ARGS_MAX_BYTES},
            field="args",
        )
    if order.kind not in TASK_KINDS:
        return
    task_name = args.get("task_name")
    if not isinstance(task_name, str) or not task_name.strip():
        raise Invalid(_("This command needs the name of a task."), field="args.task_name")
    if len(task_name) > TASK_NAME_MAX_LENGTH:
        raise Invalid(_("A task name has %d characters at most.") % TASK_NAME_MAX_LENGTH, field="args.task_name")
    if order.kind in {CommandKind.REPLAY_DEAD_LETTERS, CommandKind.DISCARD_DEAD_LETTERS}:
        limit = args.get("limit", 1)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise Invalid(_("The limit must be a whole number of at least 1."), field="args.limit")
    if order.kind == CommandKind.RUN_TASK_ONCE and not isinstance(args.get("payload", {}), dict):
        raise Invalid(_("The payload must be a JSON object."), field="args.payload")
