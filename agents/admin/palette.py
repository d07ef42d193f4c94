"""What the command palette finds of the fleet, for whoever may see it."""

from collections.abc import Iterator

from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from agents.models.command import Command, CommandKind
from agents.selectors import named
from controlplane.console.formatting import admin_url, age_words
from controlplane.console.palette import SHOWN, Entry, Section


def fleet(request: HttpRequest, text: str) -> Iterator[Section]:
    """Services, instances, nodes, groups, commands and fan-outs, some of each."""
    may = request.user.has_perm
    if may("agents.view_service"):
        yield Section(_("Services"), _services(text))
    if may("agents.view_instance"):
        yield Section(_("Instances"), _instances(text))
    if may("agents.view_node"):
        yield Section(_("Nodes"), _nodes(text))
    if may("agents.view_group"):
        found = named.groups(text, SHOWN)
        yield Section(
            _("Groups of instances"),
            [
                Entry(group.name, admin_url("agents_group_change", group.pk), "workspaces", group.selector)
                for group in found
            ],
        )
    if may("agents.view_command"):
        yield Section(_("Commands"), _commands(text))
    if may("agents.view_fanout"):
        found_fan_outs = named.fan_outs(text, SHOWN)
        yield Section(
            _("Fan-outs"),
            [Entry(str(one), admin_url("agents_fanout_change", one.pk), "call_split") for one in found_fan_outs],
        )


def _services(text: str) -> list[Entry]:
    return [
        Entry(service.name, admin_url("agents_service_change", service.pk), "deployed_code", service.environment)
        for service in named.services(text, SHOWN)
    ]


def _instances(text: str) -> list[Entry]:
    return [
        Entry(
            instance.node_name or instance.external_id,
            admin_url("agents_instance_change", instance.pk),
            "dns",
            format_lazy("{} · {}", instance.service, instance.get_connectivity_display()),
        )
        for instance in named.instances(text, SHOWN)
    ]


def _nodes(text: str) -> list[Entry]:
    return [
        Entry(
            node.name,
            admin_url("agents_node_change", node.pk),
            "lan",
            format_lazy("{} · {}", node.type, node.instance.get_connectivity_display()),
        )
        for node in named.nodes(text, SHOWN)
    ]


def _kinds(text: str) -> list[CommandKind]:
    """The kinds that the text names, by their wire name or in words."""
    found = []
    for kind in CommandKind:
        with override("en"):
            english = str(kind.label)
        if text.lower() in f"{kind.value} {kind.label} {english}".lower():
            found.append(kind)
    return found


def _commands(text: str) -> list[Entry]:
    found = named.commands(text, SHOWN)
    kinds = _kinds(text) if not found else []
    lists = [
        Entry(
            gettext("All commands: %s") % kind.label,
            admin_url("agents_command_changelist", kind__exact=kind.value),
            "filter_list",
        )
        for kind in kinds[:3]
    ]
    if kinds:
        found = named.commands_of_kinds([kind.value for kind in kinds], SHOWN - len(lists))
    return [*lists, *(_command(command) for command in found)]


def _command(command: Command) -> Entry:
    kind = CommandKind(command.kind).label if command.kind in CommandKind.values else command.kind
    where = command.instance.node_name or command.instance.external_id
    return Entry(
        format_lazy("{} · {}", kind, where),
        admin_url("agents_command_change", command.pk),
        "terminal",
        format_lazy("{} · {}", command.get_status_display(), age_words(command.created_at, timezone.now())),
    )
