"""Columns and links that several lists share. None of them costs a query if its row came with what it names."""

from django.utils.safestring import SafeString

from agents.models import Command, Instance, Service, Session
from agents.models.command import CommandKind
from controlplane.console.formatting import NOTHING, admin_url, badge, link


def service_link(service: Service | None) -> SafeString | str:
    if service is None:
        return NOTHING
    return link(admin_url("agents_service_change", service.pk), service)


def instance_link(instance: Instance | None) -> SafeString | str:
    if instance is None:
        return NOTHING
    name = instance.node_name or instance.external_id[:8]
    return link(admin_url("agents_instance_change", instance.pk), name, title=instance.external_id)


def kind_label(kind: str) -> str:
    """The words for a command kind; a kind that this version does not know is shown as it is."""
    return str(CommandKind(kind).label) if kind in CommandKind.values else kind


def command_status(command: Command) -> SafeString:
    return badge("command", command.status, command.get_status_display())


def session_status(session: Session) -> SafeString:
    return badge("session", session.status, session.get_status_display())
