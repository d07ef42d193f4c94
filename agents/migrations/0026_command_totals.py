from django.db import migrations, models


class Migration(migrations.Migration):
    """Counts of commands by status that outlive the commands; they begin at none."""

    dependencies = [
        ("agents", "0025_events_of_services_with_their_kind"),
    ]

    operations = [
        migrations.CreateModel(
            name="CommandTotals",
            fields=[
                (
                    "status",
                    models.CharField(max_length=16, primary_key=True, serialize=False, verbose_name="status"),
                ),
                ("count", models.BigIntegerField(verbose_name="commands")),
            ],
            options={"verbose_name": "command totals", "verbose_name_plural": "command totals"},
        ),
    ]
