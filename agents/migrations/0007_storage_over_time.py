from django.db import migrations, models


class Migration(migrations.Migration):
    """What keeping tables small over time has to remember."""

    dependencies = [
        ("agents", "0006_replica_ingest"),
    ]

    operations = [
        migrations.AddField(
            model_name="backgroundjob",
            name="completed_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When a job that works in steps last had nothing left to do.",
                null=True,
                verbose_name="completed",
            ),
        ),
        migrations.CreateModel(
            name="ClockCorrection",
            fields=[
                (
                    "key",
                    models.CharField(
                        help_text="SHA-256 of what names the record.",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                ("moment", models.DateTimeField(verbose_name="settled time")),
                ("made_at", models.DateTimeField(verbose_name="made")),
            ],
            options={
                "verbose_name": "clock correction",
                "verbose_name_plural": "clock corrections",
                "indexes": [models.Index(fields=["made_at"], name="clockcorrection_made")],
            },
        ),
    ]
