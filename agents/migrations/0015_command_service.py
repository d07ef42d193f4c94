import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """A command says of which service it is, for indexes to begin with."""

    dependencies = [
        ("agents", "0014_index_events_of_tasks"),
    ]

    operations = [
        migrations.AddField(
            model_name="command",
            name="service",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="commands",
                to="agents.service",
                verbose_name="service",
            ),
        ),
    ]
