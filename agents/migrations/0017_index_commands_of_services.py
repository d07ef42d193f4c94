from django.db import migrations, models


class Migration(migrations.Migration):
    """Lists and counts of a service's commands, or of those about one of its tasks, read no others."""

    dependencies = [
        ("agents", "0016_fill_command_service"),
    ]

    operations = [
        migrations.AddIndex(
            "command", models.Index(fields=("service", "-created_at", "-id"), name="command_service_newest")
        ),
        migrations.AddIndex(
            "command", models.Index(fields=("service", "status", "-finished_at"), name="command_service_status")
        ),
        migrations.AddIndex(
            "command",
            models.Index(
                fields=("service", "task_name", "-created_at"),
                name="command_task_newest",
                condition=~models.Q(task_name=""),
            ),
        ),
    ]
