from django.db import migrations

from controlplane.common.operations import ReplaceIndexByPartition


class Migration(migrations.Migration):
    """The events of a service are counted without a look at them."""

    atomic = False

    dependencies = [
        ("agents", "0024_kinds_of_changes"),
    ]

    operations = [
        ReplaceIndexByPartition(
            "Event",
            "event_service_newest",
            now=" (service_id, occurred_at DESC, id DESC) INCLUDE (kind)",
            before=" (service_id, occurred_at DESC, id DESC)",
        ),
    ]
