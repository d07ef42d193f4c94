from django.db import migrations

from controlplane.common.operations import IndexTransactions


class Migration(migrations.Migration):
    """What followers of the history read, twice a second."""

    atomic = False

    dependencies = [
        ("agents", "0027_event_transaction"),
    ]

    operations = [
        IndexTransactions("Event", "event_stream", "NOT (kind IN ('task.started', 'task.succeeded'))"),
    ]
