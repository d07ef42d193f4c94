from django.db import migrations
from django.db.models import OuterRef, Subquery

INSTANCES_AT_ONCE = 500


def fill_service(apps, schema_editor):
    """The service of each instance's sessions, some instances at a time; run again, it goes on where it stopped."""
    Instance = apps.get_model("agents", "Instance")
    Session = apps.get_model("agents", "Session")
    ids = list(Instance.objects.order_by("id").values_list("id", flat=True))
    service = Instance.objects.filter(pk=OuterRef("instance")).values("service")
    for start in range(0, len(ids), INSTANCES_AT_ONCE):
        sessions = Session.objects.filter(instance__in=ids[start : start + INSTANCES_AT_ONCE], service=None)
        sessions.update(service=Subquery(service))


class Migration(migrations.Migration):
    """Sessions from before say of which service they are, too."""

    atomic = False

    dependencies = [
        ("agents", "0019_session_service"),
    ]

    operations = [
        # Nothing to undo: the column goes with the migration before.
        migrations.RunPython(fill_service, migrations.RunPython.noop),
    ]
