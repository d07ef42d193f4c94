import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """What the tables take over time, what retention removed from them, and who used a token last."""

    dependencies = [
        ("agents", "0037_archives_and_removals"),
    ]

    operations = [
        migrations.CreateModel(
            name="RetentionResult",
            fields=[
                ("setting", models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="setting")),
                ("counted_since", models.DateTimeField(verbose_name="counted since")),
                ("removed_rows", models.BigIntegerField(default=0, verbose_name="rows removed")),
                ("last_removed_at", models.DateTimeField(verbose_name="last removed")),
                ("last_removed_rows", models.BigIntegerField(default=0, verbose_name="rows removed by the last run")),
            ],
            options={
                "verbose_name": "result of retention",
                "verbose_name_plural": "results of retention",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="TableSize",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("taken_at", models.DateTimeField(verbose_name="taken")),
                ("table", models.CharField(blank=True, max_length=128, verbose_name="table")),
                ("size_bytes", models.BigIntegerField(verbose_name="bytes")),
                ("row_estimate", models.BigIntegerField(blank=True, null=True, verbose_name="rows, about")),
            ],
            options={
                "verbose_name": "size of a table",
                "verbose_name_plural": "sizes of tables",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("taken_at", "table"), name="tablesize_once")],
            },
        ),
        migrations.AlterField(
            model_name="session",
            name="token",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="Empty where the token came from the environment.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="sessions",
                to="agents.agenttoken",
                verbose_name="token",
            ),
        ),
    ]
