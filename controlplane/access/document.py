"""The permission table as a document, docs/access.md: written by `manage.py access`, kept in step by a test."""

from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.access.console import MODELS, ModelRules
from controlplane.access.pages import PAGES, STATIC_FILES
from controlplane.access.roles import Role
from controlplane.access.sockets import SOCKETS
from controlplane.access.table import API_ROUTES, Door, Rule

_WORDS: Final[Mapping[Rule, str]] = {
    Door.ANYBODY: "anybody",
    Door.LOGGED_IN: "any login",
    Door.STAFF: "any login of the console",
    Door.SUPERUSER: "superuser",
    Door.AGENT: "agent token",
    Door.PROGRAM: "agent token, or API token of a viewer",
    Door.NODE: "anybody; with `AUTH_MODE=token` an agent token",
    Door.NODE_READER: "anybody; with `AUTH_MODE=token` an agent token or a viewer",
    Door.NODE_OPERATOR: "anybody; with `AUTH_MODE=token` an operator",
    Door.OWN_SESSION: "the session, for its own instance",
    Door.NOBODY: "nobody",
    Role.VIEWER: "viewer",
    Role.OPERATOR: "operator",
    Role.ADMIN: "admin",
}
_RECENT_LOGINS: Final = """\
Destructive commands (drain, restart, shutdown) also need a recent login, and so does what gives rights: adding users,
groups and API tokens, changing users and groups, and new passwords.
"""
_INTRODUCTION: Final = """\
# Who may do what

Written by `manage.py access` from the permission table in `controlplane/access/`; a test fails where the two differ.

Each line names the least that is needed: who has a role may do what the roles before it may, in the order viewer,
operator, admin, and a superuser may do everything that somebody may. An API token counts as its user, capped by its
scope: `read` as viewer, `command` as operator. The console takes sessions only. What is in no line is refused: below
`/api` with 403 or 404, and a process that would serve any other URL, action or socket refuses to serve at all.
"""


def document() -> str:
    """The whole document, with a newline at its end."""
    parts = [
        _INTRODUCTION,
        "## API\n",
        _table(("route", "verbs"), _api_lines()),
        "## Sockets\n",
        *(_socket(path, rules) for path, rules in SOCKETS.items()),
        "## Console, by model\n",
        _RECENT_LOGINS,
        _table(
            ("model", "view", "add", "change", "delete", "more pages", "actions"),
            (_model(label, rules) for label, rules in sorted(MODELS.items())),
        ),
        "## Other pages\n",
        _table(("route", "verbs"), ((f"`/{_plain(route)}`", _verbs(rules)) for route, rules in PAGES.items())),
        f"Static files of the console: {_WORDS[STATIC_FILES]}.\n",
    ]
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _api_lines() -> Iterable[tuple[str, str]]:
    return ((f"`/{_plain(route)}`", _verbs(rules)) for route, rules in sorted(API_ROUTES.items()))


def _socket(path: str, rules: Mapping[str, Rule]) -> str:
    return f"`{path}`\n\n" + _table(("frame", "from"), ((f"`{kind}`", _WORDS[rule]) for kind, rule in rules.items()))


def _model(label: str, rules: ModelRules) -> list[str]:
    least = [_WORDS[rule] for rule in (rules.view, rules.add, rules.change, rules.delete)]
    pages = "; ".join(f"`{page}`: {_verbs(by_verb)}" for page, by_verb in rules.pages.items())
    actions = "; ".join(f"`{action}`: {_WORDS[rule]}" for action, rule in rules.actions.items())
    return [f"`{label}`", *least, pages or "–", actions or "–"]


def _verbs(rules: Mapping[str, Rule]) -> str:
    return ", ".join(f"{verb} {_WORDS[rule]}" for verb, rule in rules.items())


def _plain(route: str) -> str:
    """A pattern without the marks of a regular expression, and without what would end a cell."""
    return route.replace("(?P<url>.*)$", "<anything else>").replace("(/.*)?$", "/<anything else>").removeprefix("^")
