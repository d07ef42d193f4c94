import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Filters of lists with a name."""

    dependencies = [
        ("agents", "0039_index_targets_in_order"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "list_name",
                    models.CharField(
                        help_text="The label of the model that is listed, as in agents.event.",
                        max_length=100,
                        verbose_name="list",
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("query", models.CharField(max_length=4000, verbose_name="filters")),
                ("is_shared", models.BooleanField(default=False, verbose_name="shared with everyone")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated")),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "saved view",
                "verbose_name_plural": "saved views",
                "ordering": ("name", "pk"),
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_shared", True)), fields=["list_name", "name"], name="savedview_shared"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("list_name", "owner", "name"), name="savedview_name_of_owner")
                ],
            },
        ),
    ]
