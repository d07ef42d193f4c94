from django.db import migrations, models

from controlplane.common.operations import AddIndexByPartition

_NOTABLE = ~models.Q(kind__in=("task.started", "task.succeeded"))


class Migration(migrations.Migration):
    """Read by the history of the API: of one kind that is rare, and of one actor."""

    atomic = False

    dependencies = [
        ("agents", "0015_index_words_of_events"),
    ]

    operations = [
        AddIndexByPartition(
            model_name="event",
            index=models.Index(
                condition=_NOTABLE, fields=["kind", "-occurred_at", "-id"], name="event_kind_notable"
            ),
        ),
        AddIndexByPartition(
            model_name="event",
            index=models.Index(
                condition=~models.Q(actor=""), fields=["actor", "-occurred_at", "-id"], name="event_actor_newest"
            ),
        ),
    ]
