"""The words for what is stored as a code: why sessions end, why commands fail, what events tell.

A code that this version does not know, and whatever an agent wrote itself, is shown as it is.
"""

import re
from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.history import subject_words
from agents.models import Command, Event, Session
from agents.models.command import CommandKind
from agents.selectors.waiting import Wait, WaitCause
from controlplane.console.formatting import NOTHING, cut

_CLOSED = re.compile(r"closed_(\d+)")

END_WORDS: Mapping[str, str | Promise] = {
    "closed_1000": _("The agent closed the connection."),
    "closed_1001": _("The agent went away."),
    "closed_1003": _("The agent sent a frame that is no text."),
    "closed_1005": _("The agent closed the connection."),
    "closed_1006": _("The connection was lost."),
    "closed_1008": _("The agent broke the protocol."),
    "closed_1009": _("The agent sent a frame that is too large."),
    "closed_1011": _("The portal failed on this connection."),
    "closed_1012": _("The portal restarted."),
    "closed_1013": _("The portal was overloaded, or its database was away."),
    "closed_4001": _("A newer session of this instance took its place."),
    "closed_4003": _("The token was revoked or has expired."),
    "closed_early": _("The connection closed before the session began."),
    "lost": _("The portal lost track of this session."),
    "portal_stopped": _("The portal was stopped."),
    "replica_lost": _("The portal process that held it is gone."),
    "superseded": _("A newer session of this instance took its place."),
    "token_revoked": _("The token was revoked or has expired."),
}
# The portal's own verdicts: the messages stored with them are msgids, and those without a message are told here.
ERROR_WORDS: Mapping[str, str | Promise] = {
    "command_cancelled": _("It was cancelled before it was sent."),
    "command_capability_missing_on_reconnect": _("The instance came back without what this command needs."),
    "command_delivery_expired": _("It was not delivered in time."),
    "command_timeout_elapsed": _("No result came in time."),
}

# Why a node of the registry turned; how long it was silent stands in the details of the event.
TURN_WORDS: Mapping[str, str | Promise] = {
    "node_first_report": _("Its first status report came."),
    "node_reported_again": _("A status report came after a silence."),
    "node_reported_lately": _("Its last status report is young enough."),
    "node_silent": _("Its last status report is too old."),
    "node_never_reported": _("No status report came since its registration."),
}

# Why an instance got no command, or not at once.
REASON_WORDS: Mapping[str, str | Promise] = {
    "no_active_session": _("There is no active control session for this instance."),
    "no_live_connection": _("There is no live control connection to this instance."),
    "no_known_session": _("This instance never had a session, so what it can do is unknown."),
    "instance_being_forgotten": _("This instance is being forgotten."),
    "missing_capability": _("Its session did not offer this command."),
    "dialect_without_commands": _("Instances of its dialect take no commands."),
    "task_state_unknown": _("It has not reported the state of this task."),
    "task_command_unsupported": _("The task does not support this command there."),
}


def reason_words(code: str) -> str:
    """Why an instance got no command, or not at once; empty for an empty code."""
    return str(REASON_WORDS.get(code, code))


def end_words(code: str) -> str:
    """Why a session ended; empty for an empty code."""
    if code in END_WORDS:
        return str(END_WORDS[code])
    closed = _CLOSED.fullmatch(code)
    return gettext("The connection was closed with code %s.") % closed[1] if closed else code


def end_reason(session: Session) -> SafeString | str:
    return _with_code(end_words(session.end_reason), session.end_reason) if session.end_reason else NOTHING


def error_text(command: Command) -> str:
    """What went wrong with a command, in the reader's language where the portal says it; empty if nothing did."""
    if command.error_code not in ERROR_WORDS:
        return command.error_message or command.error_code
    return gettext(command.error_message) if command.error_message else str(ERROR_WORDS[command.error_code])


def error_words(command: Command, length: int = 100) -> SafeString | str:
    """The same as one line with the code in its title; nothing for a command that somebody cancelled."""
    text = error_text(command)
    if not text or command.status == Command.Status.CANCELLED:
        return ""
    return _with_code(text, command.error_code) if command.error_code in ERROR_WORDS else cut(text, length)


def event_text(event: Event) -> str:
    """What an event tells beyond its kind; empty if nothing."""
    if event.kind.startswith("session."):
        return end_words(event.message)
    if event.message in TURN_WORDS:
        return str(TURN_WORDS[event.message])
    if event.kind.startswith(("object.", "token.", "schedule.")) and event.subject:
        return subject_words(event)
    if event.kind.startswith("command.") and event.message in CommandKind.values:
        return str(CommandKind(event.message).label)
    return event.message


def event_words(event: Event, length: int = 100) -> SafeString | str:
    """The same as one line, with the code in its title where a code is what is stored."""
    text = event_text(event)
    return cut(text, length) if text == event.message else _with_code(text, event.message)


def _with_code(words: str, code: str) -> SafeString:
    return format_html('<span title="{}">{}</span>', code, words)


# Why a command is under way still. What the first word of the sentence needs comes from the Wait.
WAIT_WORDS: Mapping[WaitCause, str | Promise] = {
    "overdue": _("Its time is up; it is about to be closed."),
    "leaving": _("The instance is being forgotten; nothing is sent to it any more."),
    "no_session": _("The instance is not connected; the command is held until it connects, or until its deadline."),
    "holder_stopped": _(
        "The portal process that held the session has stopped; the command is sent when the instance connects again."
    ),
    "holder_silent": _(
        "The portal process %(process)s holds the session and has not been heard of; if it is gone, the command is "
        "sent when the instance connects to another."
    ),
    "behind_others": _("Commands that were ordered before it go first: %(ahead)d."),
    "not_taken": _(
        "The instance is connected, but its portal process %(process)s sends nothing more to it: it is slow to read "
        "what it got."
    ),
    "not_claimed": _("The instance is connected; the command is about to be sent."),
    "no_answer": _("It was sent; the instance has not answered yet."),
    "sent_and_gone": _(
        "It was sent, and the connection ended before the answer; it is sent again when the instance connects."
    ),
    "stop_and_gone": _(
        "It was sent, and the connection ended before the answer. An order to stop is sent to no other process; only "
        "the same one can still answer."
    ),
    "running": _("The instance accepted it and is working on it."),
    "running_unseen": _(
        "The instance accepted it, and the connection ended since; the same process tells the result when it connects "
        "again."
    ),
}


def wait_words(wait: Wait | None) -> str:
    """Why a command is under way still, in a sentence or two; empty for None. How its session ended is among it."""
    if wait is None:
        return ""
    text = str(WAIT_WORDS[wait.cause]) % {"process": wait.replica or NOTHING, "ahead": wait.ahead}
    ended = end_words(wait.last_session.end_reason) if wait.last_session else ""
    return gettext("%(wait)s Why the last session ended: %(ended)s") % {"wait": text, "ended": ended} if ended else text
