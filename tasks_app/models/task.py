"""Task: what a service runs, and what each of its instances says of it."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from agents.models import Instance, Service


class Task(models.Model):
    """A task definition of a service, as the newest accepted sync of any of its instances told it."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="tasks", verbose_name=_("service"))
    name = models.CharField(_("name"), max_length=255)
    description = models.TextField(_("description"), blank=True)
    source_name = models.CharField(_("source"), max_length=255, blank=True)
    source_kind = models.CharField(_("source kind"), max_length=128, blank=True)
    source_config = models.JSONField(_("source settings"), null=True, blank=True)
    emit = models.JSONField(_("sinks"), default=list, blank=True)
    concurrency = models.BigIntegerField(_("concurrency"), null=True, blank=True)
    timeout_s = models.FloatField(_("timeout (s)"), null=True, blank=True)
    retry_policy = models.JSONField(_("retry policy"), null=True, blank=True)
    topology_hash = models.CharField(_("topology"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering = ("service", "name")
        constraints = [models.UniqueConstraint(fields=("service", "name"), name="task_service_name")]

    def __str__(self) -> str:
        return self.name


class AppSnapshot(models.Model):
    """The `app` object of an instance's last accepted sync: what this instance itself runs.

    Kept apart from Instance because it is wide and read on one page only.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="app_snapshot", verbose_name=_("instance")
    )
    app = models.JSONField(_("app"))
    updated_at = models.DateTimeField(_("updated"))

    class Meta:
        verbose_name = _("app snapshot")
        verbose_name_plural = _("app snapshots")

    def __str__(self) -> str:
        return str(self.instance_id)


class TaskControls(models.Model):
    """What the last accepted heartbeat of an instance said of each of its tasks.

    `controls` is a list of objects: task_name, supported_commands (list), pause_requested, paused, accepting_new_work
    (bool), runner_count, parked_runner_count, fetching_runner_count, inflight_task_count (int). Source: contract 2.2.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="task_controls", verbose_name=_("instance")
    )
    controls = models.JSONField(_("controls"), default=list)
    updated_at = models.DateTimeField(_("updated"))

    class Meta:
        verbose_name = _("task controls")
        verbose_name_plural = _("task controls")

    def __str__(self) -> str:
        return str(self.instance_id)
