from django.db import migrations, models


class Migration(migrations.Migration):
    """Selectors with a name."""

    dependencies = [
        ("agents", "0034_labels_and_facts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Group",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                ("selector", models.TextField(verbose_name="selector")),
                ("description", models.TextField(blank=True, verbose_name="description")),
                ("created_by_name", models.CharField(blank=True, max_length=255, verbose_name="created by")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated")),
            ],
            options={
                "verbose_name": "group of instances",
                "verbose_name_plural": "groups of instances",
                "ordering": ("name",),
            },
        ),
    ]
