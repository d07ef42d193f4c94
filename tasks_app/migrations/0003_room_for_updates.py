from django.db import migrations

from controlplane.common.operations import LeaveRoom


class Migration(migrations.Migration):
    """Controls follow the state of their tasks: with room on the page an update touches no index."""

    dependencies = [
        ("tasks_app", "0002_partition_metrics"),
    ]

    operations = [
        LeaveRoom("TaskControls", 60),
    ]
