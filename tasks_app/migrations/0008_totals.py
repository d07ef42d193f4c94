import django.db.models.deletion
from django.db import migrations, models

from controlplane.common.operations import LeaveRoom


class Migration(migrations.Migration):
    """Counters that outlive the windows they were counted in (docs/adr/0006-totals-beside-windows.md).

    Each row is updated with every window of its task: with room on the page that touches no index.
    """

    dependencies = [
        ("agents", "0024_kinds_of_changes"),
        ("tasks_app", "0007_index_windows_of_services"),
    ]

    operations = [
        migrations.CreateModel(
            name="TaskTotals",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "instance_id", "task_name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "instance",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="task_totals",
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
                ("task_name", models.CharField(max_length=255, verbose_name="task")),
                ("fetched", models.FloatField(verbose_name="fetched")),
                ("started", models.FloatField(verbose_name="started")),
                ("succeeded", models.FloatField(verbose_name="succeeded")),
                ("retried", models.FloatField(verbose_name="retried")),
                ("failed", models.FloatField(verbose_name="failed")),
                ("dead_lettered", models.FloatField(verbose_name="dead-lettered")),
                ("cancelled", models.FloatField(verbose_name="cancelled")),
                ("timeouts", models.FloatField(verbose_name="timeouts")),
                ("window_started_at", models.DateTimeField(verbose_name="from")),
                ("window_ended_at", models.DateTimeField(verbose_name="to")),
                ("inflight", models.BigIntegerField(verbose_name="in flight")),
                ("avg_duration_ms", models.FloatField(null=True, verbose_name="average duration (ms)")),
                ("p95_duration_ms", models.FloatField(null=True, verbose_name="p95 duration (ms)")),
            ],
            options={"verbose_name": "task totals", "verbose_name_plural": "task totals"},
        ),
        migrations.CreateModel(
            name="CustomMetricTotals",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "instance_id",
                        "task_name",
                        "name",
                        "kind",
                        "labels_hash",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "instance",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="custom_metric_totals",
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
                ("task_name", models.CharField(max_length=255, verbose_name="task")),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        choices=[("counter", "Counter"), ("gauge", "Gauge")], max_length=8, verbose_name="kind"
                    ),
                ),
                ("labels_hash", models.CharField(max_length=64)),
                ("labels", models.JSONField(default=dict, verbose_name="labels")),
                ("value", models.FloatField(verbose_name="value")),
                ("window_ended_at", models.DateTimeField(verbose_name="to")),
            ],
            options={"verbose_name": "custom metric totals", "verbose_name_plural": "custom metric totals"},
        ),
        LeaveRoom("TaskTotals", 60),
        LeaveRoom("CustomMetricTotals", 60),
    ]
