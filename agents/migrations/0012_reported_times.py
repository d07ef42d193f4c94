from django.db import migrations, models


class Migration(migrations.Migration):
    """What time a clock correction was made from. Of those made before it is not known: they count for every record
    until the retention deletes them."""

    dependencies = [
        ("agents", "0011_room_for_updates"),
    ]

    operations = [
        migrations.AddField(
            model_name="clockcorrection",
            name="reported_at",
            field=models.DateTimeField(
                help_text="By the agent's clock; not known of what was settled long ago.",
                null=True,
                verbose_name="reported time",
            ),
        ),
        migrations.AddIndex(
            model_name="clockcorrection",
            index=models.Index(fields=["reported_at"], name="clockcorrection_reported"),
        ),
    ]
