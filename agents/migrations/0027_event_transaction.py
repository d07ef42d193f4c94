from django.db import migrations

from controlplane.common.operations import RecordTransaction


class Migration(migrations.Migration):
    """Followers of the history read it in the order of its transactions (docs/adr/0008-cursor-of-the-live-stream.md)."""

    dependencies = [
        ("agents", "0026_command_totals"),
    ]

    operations = [
        RecordTransaction("Event"),
    ]
