"""What is read of the history: how far, and the routine of it that some rule asks for."""

from django.db import models


class RuleCursor(models.Model):
    """How far the history was turned into alerts; its one row is the lock of whoever does it."""

    name = models.CharField(primary_key=True, max_length=32)
    # The text of an agents.selectors.stream.Cursor; empty before the first look.
    cursor = models.CharField(max_length=80, blank=True)
    looked_at = models.DateTimeField(null=True, blank=True)
    # Behind what the history holds since: told as a lag of the portal.
    behind_since = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class RoutineNews(models.Model):
    """A start or success that some rule asks for, written in the transaction of its event and deleted when it was read.

    The stream has no routine (docs/adr/0008), and reading all of it for a few would cost more than noting these.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.CharField(max_length=255)
    occurred_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.event_id
