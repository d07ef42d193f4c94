from django.db import migrations, models

from controlplane.common.operations import AddIndexByPartition


class Migration(migrations.Migration):
    """Read by the history of the API, of one actor."""

    atomic = False

    dependencies = [
        ("agents", "0030_index_words_of_events"),
    ]

    operations = [
        AddIndexByPartition(
            model_name="event",
            index=models.Index(
                condition=~models.Q(actor=""), fields=["actor", "-occurred_at", "-id"], name="event_actor_newest"
            ),
        ),
    ]
