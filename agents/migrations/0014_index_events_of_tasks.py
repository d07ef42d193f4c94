from django.db import migrations, models

from controlplane.common.operations import AddIndexByPartition

_ROUTINE = models.Q(kind__in=("task.started", "task.succeeded"))


class Migration(migrations.Migration):
    """Lists of one task, or of one kind, read what they show and no more."""

    atomic = False

    dependencies = [
        ("agents", "0013_index_arrival"),
    ]

    operations = [
        AddIndexByPartition(
            "event",
            models.Index(
                fields=("service", "task_name", "-occurred_at", "-id"),
                name="event_task_newest",
                condition=~models.Q(task_name=""),
                include=("kind", "duration_ms"),
            ),
        ),
        AddIndexByPartition(
            "event",
            models.Index(fields=("kind", "-occurred_at", "-id"), name="event_kind_newest", condition=~_ROUTINE),
        ),
    ]
