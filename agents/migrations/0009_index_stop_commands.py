import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """An index for what stopped an instance, in place of one that another index begins with."""

    dependencies = [
        ("agents", "0008_partition_events"),
    ]

    operations = [
        migrations.AlterField(
            model_name="command",
            name="instance",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="commands",
                to="agents.instance",
                verbose_name="instance",
            ),
        ),
        migrations.AddIndex(
            model_name="command",
            index=models.Index(
                condition=models.Q(("kind__in", ("drain", "restart", "shutdown")), ("status", "succeeded")),
                fields=["instance", "-finished_at"],
                name="command_stops",
            ),
        ),
    ]
