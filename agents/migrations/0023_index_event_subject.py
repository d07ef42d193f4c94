from django.db import migrations, models

from controlplane.common.operations import AddIndexByPartition


class Migration(migrations.Migration):
    """The changes of one object, newest first; all other events stay out of it."""

    atomic = False

    dependencies = [
        ("agents", "0022_event_subject"),
    ]

    operations = [
        AddIndexByPartition(
            model_name="event",
            index=models.Index(
                condition=models.Q(("subject", ""), _negated=True),
                fields=["subject", "-occurred_at", "-id"],
                name="event_subject",
            ),
        ),
    ]
