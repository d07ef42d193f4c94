from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0037_archives_and_removals"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="fanouttarget",
            index=models.Index(fields=["fan_out", "id"], name="fan_out_target_order"),
        ),
    ]
