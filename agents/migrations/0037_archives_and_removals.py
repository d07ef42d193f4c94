import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    """What is left out of lists, and what is on its way out for good: nobody is let in under its name meanwhile."""

    dependencies = [
        ("agents", "0036_fan_outs"),
    ]

    operations = [
        migrations.AddField(
            model_name="instance",
            name="archived_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Left out of lists and figures until it reports again.",
                null=True,
                verbose_name="archived",
            ),
        ),
        migrations.AddField(
            model_name="instance",
            name="forget_requested_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Nobody is let in under its name meanwhile.",
                null=True,
                verbose_name="being forgotten since",
            ),
        ),
        migrations.AddField(
            model_name="service",
            name="archived_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Left out of lists and figures until it is heard of again.",
                null=True,
                verbose_name="archived",
            ),
        ),
        migrations.AddField(
            model_name="service",
            name="forget_requested_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Nobody is let in under its name meanwhile.",
                null=True,
                verbose_name="being forgotten since",
            ),
        ),
        migrations.CreateModel(
            name="Removal",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name="id"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("instance", "Instance"), ("service", "Service")], max_length=16, verbose_name="kind"
                    ),
                ),
                ("target_id", models.CharField(max_length=64, verbose_name="id of what is removed")),
                ("name", models.CharField(max_length=512, verbose_name="name")),
                ("environment", models.CharField(max_length=64, verbose_name="environment")),
                ("requested_by_name", models.CharField(blank=True, max_length=255, verbose_name="requested by")),
                ("origin", models.JSONField(blank=True, default=dict, editable=False)),
                ("requested_at", models.DateTimeField(verbose_name="requested")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                ("removed", models.JSONField(blank=True, default=dict, verbose_name="removed rows")),
                (
                    "kept_reason",
                    models.CharField(
                        blank=True,
                        help_text="Empty where all of it is gone.",
                        max_length=255,
                        verbose_name="why something is left",
                    ),
                ),
            ],
            options={
                "verbose_name": "removal",
                "verbose_name_plural": "removals",
                "ordering": ("-requested_at", "-id"),
                "indexes": [models.Index(fields=["-requested_at", "-id"], name="removal_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("finished_at", None)), fields=("kind", "target_id"), name="removal_open"
                    )
                ],
            },
        ),
    ]
