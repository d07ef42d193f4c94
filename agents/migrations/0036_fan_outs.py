import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Orders for many instances, kept with what became of them at each."""

    dependencies = [
        ("agents", "0035_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FanOut",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name="id"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("ping", "Ping"),
                            ("sync_now", "Sync now"),
                            ("flush_metrics", "Flush metrics"),
                            ("flush_events", "Flush events"),
                            ("pause_task", "Pause task"),
                            ("resume_task", "Resume task"),
                            ("restart_task", "Restart task"),
                            ("run_task_once", "Run task once"),
                            ("replay_dead_letters", "Replay dead letters"),
                            ("discard_dead_letters", "Discard dead letters"),
                            ("drain", "Drain"),
                            ("restart", "Restart"),
                            ("shutdown", "Shut down"),
                        ],
                        max_length=64,
                        verbose_name="kind",
                    ),
                ),
                ("args", models.JSONField(blank=True, default=dict, verbose_name="arguments")),
                ("task_name", models.CharField(blank=True, max_length=255, verbose_name="task")),
                (
                    "target_mode",
                    models.CharField(
                        choices=[
                            ("all_online", "All online of a service"),
                            ("selected_instances", "Chosen instances"),
                            ("selector", "Selector"),
                            ("group", "Group of instances"),
                        ],
                        max_length=32,
                        verbose_name="targets",
                    ),
                ),
                ("selector", models.TextField(blank=True, verbose_name="selector")),
                ("group_name", models.CharField(blank=True, max_length=100, verbose_name="group of instances")),
                ("environments", models.JSONField(blank=True, default=list, verbose_name="environments")),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
                ("holds", models.BooleanField(default=False, verbose_name="waits for the offline")),
                ("timeout_s", models.PositiveIntegerField(verbose_name="timeout (s)")),
                ("dispatched", models.PositiveIntegerField(default=0, verbose_name="dispatched")),
                ("queued", models.PositiveIntegerField(default=0, verbose_name="queued")),
                ("skipped", models.PositiveIntegerField(default=0, verbose_name="skipped")),
                ("rejected", models.PositiveIntegerField(default=0, verbose_name="rejected")),
                ("created_by_name", models.CharField(blank=True, max_length=255, verbose_name="created by")),
                ("created_at", models.DateTimeField(verbose_name="created")),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "retry_of",
                    models.ForeignKey(
                        blank=True,
                        help_text="The fan-out whose failed targets it was given to again.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="retries",
                        to="agents.fanout",
                        verbose_name="repeats",
                    ),
                ),
                (
                    "service",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="fan_outs",
                        to="agents.service",
                        verbose_name="service",
                    ),
                ),
            ],
            options={
                "verbose_name": "fan-out",
                "verbose_name_plural": "fan-outs",
                "ordering": ("-created_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="FanOutTarget",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("dispatched", "Dispatched"),
                            ("queued", "Queued"),
                            ("skipped", "Skipped"),
                            ("rejected", "Rejected"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                ("reason_code", models.CharField(blank=True, max_length=64, verbose_name="reason")),
                (
                    "command",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="targets",
                        to="agents.command",
                        verbose_name="command",
                    ),
                ),
                (
                    "fan_out",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="targets",
                        to="agents.fanout",
                    ),
                ),
                (
                    "instance",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="agents.instance"
                    ),
                ),
            ],
            options={
                "verbose_name": "target of a fan-out",
                "verbose_name_plural": "targets of fan-outs",
            },
        ),
        migrations.AddIndex(
            model_name="fanout",
            index=models.Index(fields=["-created_at", "-id"], name="fan_out_newest"),
        ),
        migrations.AddConstraint(
            model_name="fanouttarget",
            constraint=models.UniqueConstraint(fields=("fan_out", "instance"), name="fan_out_target"),
        ),
    ]
