import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """A session says of which service it is, for indexes to begin with."""

    dependencies = [
        ("agents", "0018_events_by_time_with_their_kind"),
    ]

    operations = [
        migrations.AddField(
            model_name="session",
            name="service",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sessions",
                to="agents.service",
                verbose_name="service",
            ),
        ),
    ]
