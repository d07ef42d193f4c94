from django.db import migrations

from controlplane.common.operations import PartitionByWeek

_NOTABLE = "WHERE NOT (kind IN ('task.started', 'task.succeeded'))"


class Migration(migrations.Migration):
    """On PostgreSQL events live in weekly partitions, so that retention drops files instead of deleting rows.

    The indexes keep their names and are chosen for what an insert costs (docs/adr/0003-weekly-partitions.md): the
    unique one begins with the time, so that new rows meet on its last pages, and serves the newest-first lists too.
    """

    dependencies = [
        ("agents", "0007_storage_over_time"),
    ]

    operations = [
        PartitionByWeek(
            "Event",
            "occurred_at",
            [
                "CREATE INDEX agents_event_pkey ON {table} (id)",
                "CREATE UNIQUE INDEX event_newest ON {table} (occurred_at DESC, event_id)",
                "CREATE INDEX event_service_newest ON {table} (service_id, occurred_at DESC, id DESC)",
                "CREATE INDEX event_instance_newest ON {table} (instance_id, occurred_at DESC, id DESC)",
                f"CREATE INDEX event_notable ON {{table}} (occurred_at DESC, id DESC) {_NOTABLE}",
                f"CREATE INDEX event_service_notable ON {{table}} (service_id, occurred_at DESC, id DESC) {_NOTABLE}",
                f"CREATE INDEX event_instance_notable ON {{table}} (instance_id, occurred_at DESC, id DESC) {_NOTABLE}",
                "CREATE INDEX event_command ON {table} (command_id) WHERE command_id IS NOT NULL",
            ],
        ),
    ]
