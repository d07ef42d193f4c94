"""What is known of an instance beyond its columns: labels in layers, and facts."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models.instance import Instance


class InstanceLabels(models.Model):
    """The stored labels of an instance, each layer a map of strings. An instance without a row has none.

    `effective` are the layers in one: the operator's over the tags of its node, and those over the agent's. It is what
    selectors ask. What the portal derives (`agents.labels.DERIVED`) is not stored: it stands in columns already.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="labels", verbose_name=_("instance")
    )
    agent = models.JSONField(_("labels of the agent"), default=dict, blank=True)
    tags = models.JSONField(
        _("registry labels"),
        default=dict,
        blank=True,
        help_text=_("Those labels of its node that selectors know."),
    )
    operator = models.JSONField(_("labels of operators"), default=dict, blank=True)
    effective = models.JSONField(_("labels"), default=dict, blank=True)
    refused = models.JSONField(
        _("left out"), default=dict, blank=True, help_text=_("Labels of the agent that may not be, each with why.")
    )

    class Meta:
        verbose_name = _("labels of an instance")
        verbose_name_plural = _("labels of instances")
        indexes = [GinIndex(fields=("effective",), name="labels_effective")]

    def __str__(self) -> str:
        return str(self.instance_id)


class InstanceFacts(models.Model):
    """What an instance says of itself and its host, as it came: an object of JSON. Written only when it changed."""

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="facts", verbose_name=_("instance")
    )
    facts = models.JSONField(_("facts"), default=dict, blank=True)
    # Of `facts`, so that what came again is known without reading it.
    digest = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    # As JSON in UTF-8, so that whoever reads those of many can leave large ones alone.
    facts_bytes = models.PositiveIntegerField(_("size in bytes"), default=0, db_default=0)
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("facts of an instance")
        verbose_name_plural = _("facts of instances")
        indexes = [GinIndex(fields=("facts",), name="facts_facts", opclasses=("jsonb_path_ops",))]

    def __str__(self) -> str:
        return str(self.instance_id)


class HostAddress(models.Model):
    """A network address (MAC) that the facts of an instance hold, in lower case with colons. Written with the facts."""

    id = models.BigAutoField(primary_key=True)
    instance = models.ForeignKey(
        Instance,
        on_delete=models.CASCADE,
        # The constraint begins with it.
        db_index=False,
        related_name="host_addresses",
        verbose_name=_("instance"),
    )
    mac = models.CharField(_("MAC address"), max_length=17)

    class Meta:
        verbose_name = _("host address")
        verbose_name_plural = _("host addresses")
        constraints = [models.UniqueConstraint(fields=("instance", "mac"), name="host_address")]
        indexes = [models.Index(fields=("mac",), name="host_address_mac")]

    def __str__(self) -> str:
        return self.mac
