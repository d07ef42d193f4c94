from django.db import migrations, models


class Migration(migrations.Migration):
    """Services in the order of the console's lists; a small table, so not concurrently."""

    dependencies = [
        ("agents", "0041_token_expires_unless_used"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="service",
            index=models.Index(fields=["environment", "name"], name="service_environment_name"),
        ),
    ]
