from django.db import migrations

from controlplane.common.operations import ReplaceIndexByPartition


class Migration(migrations.Migration):
    """Deep pages of events are found, and counted on, without a look at the rows before them."""

    atomic = False

    dependencies = [
        ("agents", "0017_index_commands_of_services"),
    ]

    operations = [
        ReplaceIndexByPartition(
            "Event",
            "event_newest",
            now=" (occurred_at DESC, event_id) INCLUDE (kind, service_id)",
            before=" (occurred_at DESC, event_id)",
            unique=True,
        ),
    ]
