"""What the command palette finds of notifications, for whoever may see it."""

from collections.abc import Iterator

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from agents.selectors.named import first_by_name
from controlplane.console.formatting import admin_url
from controlplane.console.palette import SHOWN, Entry, Section
from notifications import words
from notifications.models import Channel, Rule


def told(request: HttpRequest, text: str) -> Iterator[Section]:
    """Channels and rules, some of each."""
    if request.user.has_perm("notifications.view_channel"):
        found = first_by_name(Channel.objects.all(), "name", text, SHOWN)
        yield Section(
            _("Channels"),
            [
                Entry(
                    row.name, admin_url("notifications_channel_change", row.pk), "campaign", row.get_provider_display()
                )
                for row in found
            ],
        )
    if request.user.has_perm("notifications.view_rule"):
        rules = first_by_name(Rule.objects.all(), "name", text, SHOWN)
        yield Section(
            _("Rules"),
            [
                Entry(row.name, admin_url("notifications_rule_change", row.pk), "rule_settings", words.scope_words(row))
                for row in rules
            ],
        )
