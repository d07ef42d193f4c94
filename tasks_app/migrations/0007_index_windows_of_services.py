from django.db import migrations, models

from controlplane.common.operations import AddIndexByPartition


class Migration(migrations.Migration):
    """Lists and sums of a service, or of one of its tasks, read the windows that they are about and no more."""

    atomic = False

    dependencies = [
        ("tasks_app", "0006_fill_metricwindow_service"),
    ]

    operations = [
        AddIndexByPartition(
            "metricwindow",
            models.Index(
                fields=("service", "-window_ended_at", "task_name", "window_id"), name="metricwindow_service_newest"
            ),
        ),
        AddIndexByPartition(
            "metricwindow",
            models.Index(
                fields=("service", "task_name", "-window_ended_at", "window_id"), name="metricwindow_task_newest"
            ),
        ),
    ]
