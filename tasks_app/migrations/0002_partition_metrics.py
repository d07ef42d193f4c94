from django.db import migrations

from controlplane.common.operations import PartitionByWeek


class Migration(migrations.Migration):
    """On PostgreSQL metric windows and custom metrics live in weekly partitions.

    The unique index of windows is in the order in which they are read, and so stands in for the one by instance. Nobody
    reads either by id, so that has no index (docs/adr/0003-weekly-partitions.md).
    """

    dependencies = [
        ("tasks_app", "0001_initial"),
    ]

    operations = [
        PartitionByWeek(
            "MetricWindow",
            "window_ended_at",
            [
                "ALTER TABLE {table} ADD CONSTRAINT metricwindow_instance_task_window "
                "UNIQUE (instance_id, window_ended_at, task_name, window_id)",
                "CREATE INDEX metricwindow_newest ON {table} (window_ended_at DESC)",
            ],
        ),
        PartitionByWeek(
            "CustomMetric",
            "window_ended_at",
            [
                "ALTER TABLE {table} ADD CONSTRAINT custommetric_sample "
                "UNIQUE (instance_id, window_ended_at, task_name, window_id, name, kind, labels_hash)",
                "CREATE INDEX custommetric_newest ON {table} USING brin (window_ended_at)",
            ],
        ),
    ]
