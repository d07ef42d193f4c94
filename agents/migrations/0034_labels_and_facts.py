import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Labels in layers and facts, each beside its instance: heartbeats rewrite that row and must not carry them."""

    dependencies = [
        ("agents", "0033_nodes"),
    ]

    operations = [
        migrations.CreateModel(
            name="HostAddress",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("mac", models.CharField(max_length=17, verbose_name="MAC address")),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="host_addresses",
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
            ],
            options={
                "verbose_name": "host address",
                "verbose_name_plural": "host addresses",
            },
        ),
        migrations.CreateModel(
            name="InstanceFacts",
            fields=[
                (
                    "instance",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="facts",
                        serialize=False,
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
                ("facts", models.JSONField(blank=True, default=dict, verbose_name="facts")),
                ("digest", models.CharField(blank=True, db_default="", default="", editable=False, max_length=32)),
                ("facts_bytes", models.PositiveIntegerField(db_default=0, default=0, verbose_name="size in bytes")),
                ("changed_at", models.DateTimeField(verbose_name="changed")),
            ],
            options={
                "verbose_name": "facts of an instance",
                "verbose_name_plural": "facts of instances",
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fields=["facts"], name="facts_facts", opclasses=("jsonb_path_ops",)
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="InstanceLabels",
            fields=[
                (
                    "instance",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="labels",
                        serialize=False,
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
                ("agent", models.JSONField(blank=True, default=dict, verbose_name="labels of the agent")),
                (
                    "tags",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Those labels of its node that selectors know.",
                        verbose_name="registry labels",
                    ),
                ),
                ("operator", models.JSONField(blank=True, default=dict, verbose_name="labels of operators")),
                ("effective", models.JSONField(blank=True, default=dict, verbose_name="labels")),
                (
                    "refused",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Labels of the agent that may not be, each with why.",
                        verbose_name="left out",
                    ),
                ),
            ],
            options={
                "verbose_name": "labels of an instance",
                "verbose_name_plural": "labels of instances",
                "indexes": [django.contrib.postgres.indexes.GinIndex(fields=["effective"], name="labels_effective")],
            },
        ),
        migrations.AddIndex(
            model_name="hostaddress",
            index=models.Index(fields=["mac"], name="host_address_mac"),
        ),
        migrations.AddConstraint(
            model_name="hostaddress",
            constraint=models.UniqueConstraint(fields=("instance", "mac"), name="host_address"),
        ),
    ]
