from django.db import migrations


class Migration(migrations.Migration):
    """A node's last report by its own clock is its instance's `last_heartbeat_sent_at`: one row less to write each time."""

    dependencies = [
        ('agents', '0037_archives_and_removals'),
    ]

    operations = [
        migrations.RemoveField(model_name='node', name='agent_reported_at'),
    ]
