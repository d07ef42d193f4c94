from django.db import migrations

from controlplane.common.operations import LeaveRoom


class Migration(migrations.Migration):
    """Every heartbeat updates both rows: with room on the page that costs PostgreSQL about half."""

    dependencies = [
        ("agents", "0010_command_updated_by_services"),
    ]

    operations = [
        LeaveRoom("Instance", 60),
        LeaveRoom("Session", 60),
    ]
