from django.db import migrations

from controlplane.common.operations import copy_from_parent


class Migration(migrations.Migration):
    """Windows from before say of which service they are, too."""

    atomic = False

    dependencies = [
        ("tasks_app", "0005_metricwindow_service"),
    ]

    operations = [
        copy_from_parent(("tasks_app", "MetricWindow"), ("agents", "Instance"), link="instance", column="service"),
    ]
