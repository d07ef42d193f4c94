from datetime import timedelta

from django.db import migrations, models
from django.utils import timezone

from controlplane.common.operations import LeaveRoom

# What ends just where a bucket does is in that one. SQLite writes no fraction where there is none.
BUCKET = {
    "postgresql": "ceil(extract(epoch FROM w.window_ended_at) / {width})::bigint - 1",
    "sqlite": "(CAST(strftime('%%s', w.window_ended_at) AS INTEGER) - (length(w.window_ended_at) = 19)) / {width}",
}
MOMENT = {"postgresql": "to_timestamp(bucket * {width})", "sqlite": "datetime(bucket * {width}, 'unixepoch')"}
GREATEST = {"postgresql": "GREATEST", "sqlite": "MAX"}
FILL = """
INSERT INTO tasks_app_workrollup (
    width_s, started_at, environment, shard, started, succeeded, retried, failed, dead_lettered, cancelled
)
SELECT {width}, {moment}, environment, 0, started, succeeded, retried, failed, dead_lettered, cancelled FROM (
    SELECT {bucket} AS bucket, COALESCE(s.environment, '') AS environment, SUM(1.0 * w.started) AS started,
        SUM(1.0 * w.succeeded) AS succeeded, SUM(1.0 * w.retried) AS retried,
        SUM(1.0 * {greatest}(w.failed, w.dead_lettered)) AS failed, SUM(1.0 * w.dead_lettered) AS dead_lettered,
        SUM(1.0 * w.cancelled) AS cancelled
    FROM tasks_app_metricwindow w LEFT JOIN agents_service s ON s.id = w.service_id
    WHERE w.window_ended_at > %s
    GROUP BY 1, 2
) AS counted
"""


def fill(_apps, editor):
    """Charts by the minute look back a day, those by the hour seven. Some seconds per million windows of these."""
    vendor = editor.connection.vendor
    for width, back in ((60, timedelta(days=2)), (3600, timedelta(days=8))):
        statement = FILL.format(
            width=width,
            moment=MOMENT[vendor].format(width=width),
            bucket=BUCKET[vendor].format(width=width),
            greatest=GREATEST[vendor],
        )
        since = editor.connection.ops.adapt_datetimefield_value(timezone.now() - back)
        with editor.connection.cursor() as cursor:
            cursor.execute(statement, [since])


class Migration(migrations.Migration):
    """What charts of the whole fleet read instead of its windows (docs/adr/0009-rollups-of-the-fleet.md).

    Rows of the running minute and hour are updated with every batch of windows: with room on the page that touches no
    index. What a process of the release before stores after this is not counted.
    """

    dependencies = [
        ("tasks_app", "0009_fill_totals"),
    ]

    operations = [
        migrations.CreateModel(
            name="WorkRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "width_s",
                        "started_at",
                        "environment",
                        "shard",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("width_s", models.PositiveIntegerField(verbose_name="seconds")),
                ("started_at", models.DateTimeField(verbose_name="from")),
                ("environment", models.CharField(max_length=64, verbose_name="environment")),
                ("shard", models.PositiveSmallIntegerField()),
                ("started", models.FloatField(verbose_name="started")),
                ("succeeded", models.FloatField(verbose_name="succeeded")),
                ("retried", models.FloatField(verbose_name="retried")),
                ("failed", models.FloatField(verbose_name="failed")),
                ("dead_lettered", models.FloatField(verbose_name="dead-lettered")),
                ("cancelled", models.FloatField(verbose_name="cancelled")),
            ],
            options={"verbose_name": "work of the fleet", "verbose_name_plural": "work of the fleet"},
        ),
        LeaveRoom("WorkRollup", 60),
        # Back there is nothing to undo: the table goes with this migration.
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
