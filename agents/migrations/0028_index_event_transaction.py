from django.db import migrations

from controlplane.common.operations import IndexPartitions


class Migration(migrations.Migration):
    """What followers of the history read, twice a second."""

    atomic = False

    dependencies = [
        ("agents", "0027_event_transaction"),
    ]

    operations = [
        IndexPartitions(
            "Event",
            "event_stream",
            "(txid, id) WHERE txid IS NOT NULL AND NOT (kind IN ('task.started', 'task.succeeded'))",
        ),
    ]
