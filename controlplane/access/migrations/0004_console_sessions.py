"""Console sessions by the hash of their key and by their user.

Sessions of before are left in their table, for a return to the release before: everybody logs in again.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("access", "0003_apitoken_environments")]

    operations = [
        migrations.CreateModel(
            name="ConsoleSession",
            fields=[
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                ("session_key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField(db_index=True, null=True)),
            ],
            options={
                "verbose_name": "console session",
                "verbose_name_plural": "console sessions",
                "default_permissions": (),
            },
        ),
    ]
