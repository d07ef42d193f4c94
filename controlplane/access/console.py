"""The permission table of the console: for each model the least that its pages and its actions take.

The groups viewer, operator and admin are granted what stands here (migration access/0002_role_groups); a superuser may
give single permissions beyond it to groups of another name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.access.roles import Role
from controlplane.access.table import Door, Rule

_ROUTE = re.compile(r"admin/(?P<label>[a-z_]+/[a-z_]+)/(?P<rest>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """What the pages of a model take: `pages` those below a row beside Django's own, `actions` those of the list."""

    view: Rule
    add: Rule = Door.NOBODY
    change: Rule = Door.NOBODY
    delete: Rule = Door.NOBODY
    pages: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    actions: Mapping[str, Rule] = field(default_factory=dict)

    def rules_of(self, rest: str) -> Mapping[str, Rule] | None:
        """The rules by verb of what follows the model in a route; None where there is no such page."""
        own: dict[str, Mapping[str, Rule]] = {
            # Whether an action is carried out is for `actions` to say.
            "": {"GET": self.view, "POST": self.view},
            "add/": {"GET": self.add, "POST": self.add},
            "<path:object_id>/": {"GET": Door.STAFF},
            "<path:object_id>/change/": {"GET": self.view, "POST": self.change},
            "<path:object_id>/delete/": {"GET": self.delete, "POST": self.delete},
            "<path:object_id>/history/": {"GET": self.view},
        }
        if rest in own:
            return own[rest]
        row, _, page = rest.partition("/")
        return self.pages.get(page.rstrip("/")) if row in {"<path:object_id>", "<id>"} else None


READ_ONLY: Final = ModelRules(view=Role.VIEWER)
REVOKE: Final[Mapping[str, Mapping[str, Rule]]] = {"revoke": {"POST": Role.ADMIN}}
REVOKE_SELECTED: Final[Mapping[str, Rule]] = {"revoke_selected": Role.ADMIN}
DELETE_SELECTED: Final[Mapping[str, Rule]] = {"delete_selected": Door.SUPERUSER}
SCHEDULE: Final = ModelRules(
    view=Door.SUPERUSER,
    add=Door.SUPERUSER,
    change=Door.SUPERUSER,
    delete=Door.SUPERUSER,
    actions=DELETE_SELECTED,
)

ARCHIVING_PAGES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "archive": {"POST": Role.OPERATOR},
    "restore": {"POST": Role.OPERATOR},
    # And a recent login.
    "forget": {"GET": Role.ADMIN, "POST": Role.ADMIN},
}
ARCHIVING_ACTIONS: Final[Mapping[str, Rule]] = {"archive_selected": Role.OPERATOR, "restore_selected": Role.OPERATOR}

EDIT: Final[Mapping[str, Mapping[str, Rule]]] = {"edit": {"GET": Role.OPERATOR, "POST": Role.OPERATOR}}
TURN_SELECTED: Final[Mapping[str, Rule]] = {
    "enable_selected": Role.OPERATOR,
    "disable_selected": Role.OPERATOR,
    "delete_selected": Role.OPERATOR,
}

MODELS: Final[Mapping[str, ModelRules]] = {
    "agents.service": ModelRules(
        view=Role.VIEWER,
        pages={"send": {"POST": Role.OPERATOR}, "live": {"GET": Role.VIEWER}, **ARCHIVING_PAGES},
        actions=ARCHIVING_ACTIONS,
    ),
    "agents.instance": ModelRules(
        view=Role.VIEWER,
        pages={
            "send": {"POST": Role.OPERATOR},
            "live": {"GET": Role.VIEWER},
            "timeline": {"GET": Role.VIEWER},
            "labels": {"POST": Role.OPERATOR},
            **ARCHIVING_PAGES,
        },
        actions={
            **ARCHIVING_ACTIONS,
            "set_labels": Role.OPERATOR,
            "send_ping": Role.OPERATOR,
            "send_sync_now": Role.OPERATOR,
            "send_flush_metrics": Role.OPERATOR,
            "send_flush_events": Role.OPERATOR,
            # And a recent login.
            "send_drain": Role.ADMIN,
            "send_restart": Role.ADMIN,
            "send_shutdown": Role.ADMIN,
        },
    ),
    "agents.node": ModelRules(
        view=Role.VIEWER,
        pages={
            "configure": {"POST": Role.OPERATOR},
            "live": {"GET": Role.VIEWER},
            "timeline": {"GET": Role.VIEWER},
            # It is forgotten on the page of its instance.
            "archive": ARCHIVING_PAGES["archive"],
            "restore": ARCHIVING_PAGES["restore"],
        },
        actions={**ARCHIVING_ACTIONS, "set_labels": Role.OPERATOR},
    ),
    "agents.command": ModelRules(
        view=Role.VIEWER,
        pages={"live": {"GET": Role.VIEWER}, "sent": {"GET": Role.VIEWER}, "cancel": {"POST": Role.OPERATOR}},
        actions={"cancel_selected": Role.OPERATOR},
    ),
    "agents.fanout": ModelRules(
        view=Role.VIEWER,
        pages={
            "live": {"GET": Role.VIEWER},
            "export": {"GET": Role.VIEWER},
            "cancel": {"POST": Role.OPERATOR},
        },
    ),
    "agents.group": ModelRules(
        view=Role.VIEWER,
        add=Role.OPERATOR,
        change=Role.OPERATOR,
        delete=Role.OPERATOR,
        actions={"delete_selected": Role.OPERATOR},
    ),
    "agents.session": READ_ONLY,
    "agents.event": READ_ONLY,
    "agents.replica": READ_ONLY,
    "agents.backgroundjob": READ_ONLY,
    "agents.removal": ModelRules(view=Role.VIEWER, pages={"live": {"GET": Role.VIEWER}}),
    "tasks_app.task": ModelRules(
        view=Role.VIEWER, pages={"live": {"GET": Role.VIEWER}, "send": {"POST": Role.OPERATOR}}
    ),
    # The form of a row is at `edit`; what stands at `change` is the page.
    "notifications.channel": ModelRules(
        view=Role.VIEWER,
        add=Role.OPERATOR,
        delete=Role.OPERATOR,
        pages={
            **EDIT,
            "live": {"GET": Role.VIEWER},
            "preview": {"GET": Role.VIEWER},
            "test": {"POST": Role.OPERATOR},
            "turn": {"POST": Role.OPERATOR},
        },
        actions=TURN_SELECTED,
    ),
    "notifications.rule": ModelRules(
        view=Role.VIEWER,
        add=Role.OPERATOR,
        delete=Role.OPERATOR,
        pages={**EDIT, "replay": {"GET": Role.VIEWER}, "turn": {"POST": Role.OPERATOR}},
        actions=TURN_SELECTED,
    ),
    "notifications.alert": ModelRules(
        view=Role.VIEWER, pages={"live": {"GET": Role.VIEWER}, "silence": {"POST": Role.OPERATOR}}
    ),
    "notifications.delivery": ModelRules(
        view=Role.VIEWER,
        pages={"live": {"GET": Role.VIEWER}, "retry": {"POST": Role.OPERATOR}},
        actions={"send_again_selected": Role.OPERATOR},
    ),
    "notifications.silence": ModelRules(
        view=Role.VIEWER, add=Role.OPERATOR, pages={**EDIT, "end": {"POST": Role.OPERATOR}}
    ),
    "agents.agenttoken": ModelRules(view=Role.VIEWER, add=Role.ADMIN, pages=REVOKE, actions=REVOKE_SELECTED),
    "access.apitoken": ModelRules(view=Role.ADMIN, add=Role.ADMIN, pages=REVOKE, actions=REVOKE_SELECTED),
    "access.successfullogin": ModelRules(view=Role.ADMIN),
    "access.failedlogin": ModelRules(view=Role.ADMIN),
    # Nobody but a superuser touches people who may do more than oneself.
    "auth.user": ModelRules(
        view=Role.ADMIN,
        add=Role.ADMIN,
        change=Role.ADMIN,
        delete=Door.SUPERUSER,
        pages={"password": {"GET": Role.ADMIN, "POST": Role.ADMIN}},
        actions=DELETE_SELECTED,
    ),
    # The three roles are deleted by nobody, and what a group may do is said by superusers.
    "auth.group": ModelRules(view=Role.ADMIN, add=Role.ADMIN, change=Role.ADMIN, delete=Door.SUPERUSER),
    "django_celery_beat.periodictask": ModelRules(
        view=Door.SUPERUSER,
        add=Door.SUPERUSER,
        change=Door.SUPERUSER,
        delete=Door.SUPERUSER,
        actions={
            **DELETE_SELECTED,
            "enable_tasks": Door.SUPERUSER,
            "disable_tasks": Door.SUPERUSER,
            "toggle_tasks": Door.SUPERUSER,
            "run_tasks": Door.SUPERUSER,
        },
    ),
    "django_celery_beat.intervalschedule": SCHEDULE,
    "django_celery_beat.crontabschedule": SCHEDULE,
    "django_celery_beat.solarschedule": SCHEDULE,
    "django_celery_beat.clockedschedule": SCHEDULE,
}


def model_rules_of(route: str) -> Mapping[str, Rule] | None:
    """The rules by verb for a route of the console; None where it is of no model, or of one without rules."""
    found = _ROUTE.fullmatch(route)
    if found is None:
        return None
    rules = MODELS.get(found["label"].replace("/", "."))
    return rules.rules_of(found["rest"]) if rules is not None else None
