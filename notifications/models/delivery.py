"""Delivery: one telling to one channel, from the outbox to the ledger; and each attempt at it."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from notifications.models.alert import Alert
from notifications.models.channel import Channel, Provider
from notifications.models.rule import Rule


class Delivery(models.Model):
    """Written in the transaction that decides it is to be told; `card` is frozen then, in the language of the channel.

    `card` is the JSON of `notifications.engine.cards.Card`. `target` is set, encrypted, where the channel was deleted
    before it was sent (contract 7.1: what is queued still goes out); otherwise the channel's own is taken when it is
    sent. `claimed_until` fences the worker that sends it. Far sides may know it again by its `id`.
    """

    class Kind(models.TextChoices):
        ALERT = "alert", _("Alert")
        REPEAT = "repeat", _("Reminder")
        RESOLVED = "resolved", _("Over")
        DIGEST = "digest", _("Digest")
        SUMMARY = "summary", _("After a silence")
        TEST = "test", _("Test")

    class Status(models.TextChoices):
        PENDING = "pending", _("Waits")
        SENDING = "sending", _("Being sent")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Given up")
        FOLDED = "folded", _("In a digest")

    OPEN = (Status.PENDING, Status.SENDING)

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    dedupe_key = models.CharField(_("key"), max_length=1000, unique=True)
    channel = models.ForeignKey(
        Channel, on_delete=models.SET_NULL, null=True, related_name="deliveries", verbose_name=_("channel")
    )
    channel_name = models.CharField(_("channel"), max_length=255)
    provider = models.CharField(_("provider"), max_length=16, choices=Provider.choices)
    target = models.TextField(editable=False, blank=True)
    rule = models.ForeignKey(
        Rule, on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries", verbose_name=_("rule")
    )
    alert = models.ForeignKey(
        Alert, on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries", verbose_name=_("alert")
    )
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.ALERT)
    event_type = models.CharField(_("event type"), max_length=32, blank=True)
    event_count = models.PositiveIntegerField(_("events"), default=1)
    title = models.CharField(_("title"), max_length=500)
    card = models.JSONField(_("card"), default=dict)
    status = models.CharField(_("status"), max_length=16, choices=Status.choices, default=Status.PENDING)
    folded_into = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="folded", verbose_name=_("digest")
    )
    attempt_count = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    event_at = models.DateTimeField(_("happened"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"))
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)
    # Of the last attempt.
    status_code = models.PositiveIntegerField(_("HTTP status"), null=True, blank=True)
    provider_code = models.CharField(_("code of the provider"), max_length=64, blank=True)
    response = models.TextField(_("answer"), blank=True)
    error = models.TextField(_("error"), blank=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=("-created_at", "-id"), name="delivery_newest"),
            models.Index(fields=("channel", "-created_at", "-id"), name="delivery_channel_newest"),
            # The ledger narrowed to what was given up, which is rare.
            models.Index(fields=("status", "-created_at", "-id"), name="delivery_status_newest"),
            # The outbox: what is to be sent, by channel and in order.
            models.Index(
                fields=("channel", "next_attempt_at"),
                name="delivery_open",
                condition=models.Q(status__in=("pending", "sending")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel_name}: {self.title}"


class Attempt(models.Model):
    """One try to send a delivery; written before it is made, so that what was sent counts whoever dies."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    # Without the constraint: the budget of a channel is counted of these, for a minute.
    channel = models.ForeignKey(Channel, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)
    succeeded = models.BooleanField(_("succeeded"), null=True)
    status_code = models.PositiveIntegerField(_("HTTP status"), null=True, blank=True)
    provider_code = models.CharField(_("code of the provider"), max_length=64, blank=True)
    response = models.TextField(_("answer"), blank=True)
    error = models.TextField(_("error"), blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ("started_at", "id")
        indexes = [models.Index(fields=("channel", "-started_at"), name="attempt_channel_newest")]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.started_at:%H:%M:%S}"
