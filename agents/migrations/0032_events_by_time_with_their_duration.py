from django.db import migrations

from controlplane.common.operations import ReplaceIndexByPartition


class Migration(migrations.Migration):
    """Percentiles of the whole fleet, or of an environment, are made without a look at the rows."""

    atomic = False

    dependencies = [
        ("agents", "0031_index_actors_of_events"),
    ]

    operations = [
        ReplaceIndexByPartition(
            "Event",
            "event_newest",
            now=" (occurred_at DESC, event_id) INCLUDE (kind, service_id, duration_ms)",
            before=" (occurred_at DESC, event_id) INCLUDE (kind, service_id)",
            unique=True,
        ),
    ]
