"""`manage.py rotate_notify_secrets`: encrypt what channels keep with the first of NOTIFY_SECRET_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications.models import Channel, Delivery
from notifications.secrets import SecretUnreadable, rotated


class Command(BaseCommand):
    help = "Encrypt the addresses and secrets of channels anew, with the first of NOTIFY_SECRET_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 -- Django's signature
        """Row by row, each by a conditional update: whoever saves a channel meanwhile is not undone."""
        done, unread = 0, []
        for channel in Channel.objects.only("pk", "name", "address", "secret").iterator():
            try:
                fresh = {"address": rotated(channel.address), "secret": rotated(channel.secret)}
            except SecretUnreadable:
                unread.append(channel.name)
                continue
            same = Channel.objects.filter(pk=channel.pk, address=channel.address, secret=channel.secret)
            done += same.update(**fresh)
        for delivery in Delivery.objects.filter(status__in=Delivery.OPEN).exclude(target="").only("pk", "target"):
            Delivery.objects.filter(pk=delivery.pk, target=delivery.target).update(target=rotated(delivery.target))
        self.stdout.write(f"{done} channels are encrypted with the first key.")
        if unread:
            raise CommandError(
                f"None of NOTIFY_SECRET_KEYS reads these channels; type their addresses again: {', '.join(unread)}"
            )
