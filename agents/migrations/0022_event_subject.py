from django.db import migrations, models


class Migration(migrations.Migration):
    """What an event changed. The constant default spares PostgreSQL the rewriting of every week."""

    dependencies = [
        ("agents", "0021_index_sessions_of_services"),
    ]

    operations = [
        migrations.AddField(
            model_name="event",
            name="subject",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="What a person or a program changed, as in auth.user:3.",
                max_length=128,
                verbose_name="subject",
            ),
        ),
    ]
