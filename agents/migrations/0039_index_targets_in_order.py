from django.db import migrations, models

from controlplane.common.indexes import AddIndexBesideWriters


class Migration(migrations.Migration):
    """Who used a token last, and the targets of a fan-out in their order: of tables with millions of rows."""

    atomic = False

    dependencies = [
        ("agents", "0038_table_sizes"),
    ]

    operations = [
        AddIndexBesideWriters(
            model_name="session",
            index=models.Index(fields=["token", "-connected_at", "-id"], name="session_token_newest"),
        ),
        AddIndexBesideWriters(
            model_name="fanouttarget",
            index=models.Index(fields=["fan_out", "id"], name="fan_out_target_order"),
        ),
    ]
