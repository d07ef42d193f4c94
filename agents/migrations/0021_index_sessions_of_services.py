from django.db import migrations, models


class Migration(migrations.Migration):
    """The list of a service's sessions reads no others."""

    dependencies = [
        ("agents", "0020_fill_session_service"),
    ]

    operations = [
        migrations.AddIndex(
            "session", models.Index(fields=("service", "-connected_at", "-id"), name="session_service_newest")
        ),
    ]
