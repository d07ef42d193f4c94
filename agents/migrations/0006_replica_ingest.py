from django.db import migrations, models


class Migration(migrations.Migration):
    """Room for the figures of a process's micro-batchers beside its pulse."""

    dependencies = [
        ("agents", "0005_index_notable_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="replica",
            name="ingest",
            field=models.JSONField(
                blank=True,
                default=dict,
                editable=False,
                help_text="How the writing of what the agents report fared at the last pulse, by queue.",
                verbose_name="ingest",
            ),
        ),
    ]
