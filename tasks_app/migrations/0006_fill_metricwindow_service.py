from django.db import migrations
from django.db.models import OuterRef, Subquery

INSTANCES_AT_ONCE = 500


def fill_service(apps, schema_editor):
    """The service of each instance's windows, some instances at a time; run again, it goes on where it stopped."""
    Instance = apps.get_model("agents", "Instance")
    MetricWindow = apps.get_model("tasks_app", "MetricWindow")
    ids = list(Instance.objects.order_by("id").values_list("id", flat=True))
    service = Instance.objects.filter(pk=OuterRef("instance")).values("service")
    for start in range(0, len(ids), INSTANCES_AT_ONCE):
        windows = MetricWindow.objects.filter(instance__in=ids[start : start + INSTANCES_AT_ONCE], service=None)
        windows.update(service=Subquery(service))


class Migration(migrations.Migration):
    """Windows from before say of which service they are, too."""

    atomic = False

    dependencies = [
        ("tasks_app", "0005_metricwindow_service"),
    ]

    operations = [
        # Nothing to undo: the column goes with the migration before.
        migrations.RunPython(fill_service, migrations.RunPython.noop),
    ]
