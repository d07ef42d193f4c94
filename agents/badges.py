"""How an instance is shown: connectivity and health in words, never fresher than what is known of it.

Apart from agents.admin, because template tags are loaded while the admin is still being imported.
"""

from collections.abc import Mapping

from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.models import Command, Instance
from agents.models.command import CommandKind
from agents.models.instance import Dialect, Health
from agents.selectors.presence import Presence
from controlplane.console.formatting import NOTHING, STATE_WORDS, Words, admin_url, badge, link

TAKES_NO_WORK = _("It takes no new work until it is restarted.")
HEALTH_MEANS: Mapping[str, Words] = {
    Health.DEGRADED: _(
        "The agent says so when a task failed, was retried or was dead-lettered since its heartbeat before."
    ),
}


def health_means(instance: Instance) -> Words:
    """What a health means that needs a word; only agents of the onestep dialect say what it is about."""
    return HEALTH_MEANS.get(instance.health, "") if instance.dialect == Dialect.ONESTEP else ""


def connectivity(presence: Presence) -> SafeString:
    """The verdict, and who drained or ended the process where somebody did."""
    badges = [_verdict(presence)]
    if presence.stop:
        badges.append(ended_by(presence.stop))
    elif presence.drain:
        badges.append(badge("stop", "drain", title=TAKES_NO_WORK))
    return format_html_join(" ", "{}", ((each,) for each in badges))


def _verdict(presence: Presence) -> SafeString:
    if presence.state != "unconnected":
        return badge("connectivity", presence.state, presence.instance.get_connectivity_display())
    title = gettext("It has no connection; it counts as online until no heartbeat came for a while.")
    return badge("connectivity", "unconnected", gettext("Online, not connected"), title=title)


def ended_by(command: Command) -> SafeString:
    """That the process ended because somebody ordered it to; leads to the command."""
    words = gettext("Shut down by %s") if command.kind == CommandKind.SHUTDOWN else gettext("Restart ordered by %s")
    text = badge("stop", command.kind, words % (command.created_by_name or NOTHING))
    return link(admin_url("agents_command_change", command.pk), text, title=command.reason)


def target_words(state: str) -> str:
    """The state of a target of a fan-out, see agents.selectors.fan_outs.STATES."""
    if state in Command.Status.values:
        return str(Command.Status(state).label)
    family = "outcome" if state in STATE_WORDS["outcome"] else "fan_out"
    return str(STATE_WORDS[family][state])


def target(state: str) -> SafeString:
    """The same as a badge."""
    family = "command" if state in Command.Status.values else "outcome" if state == "skipped" else "fan_out"
    return badge(family, state, target_words(state))


def health(presence: Presence) -> SafeString:
    """What it says of itself; grey where that is no longer news."""
    instance = presence.instance
    return badge(
        "health",
        instance.health,
        instance.get_health_display(),
        title=health_means(instance),
        is_past=not presence.is_current,
    )
