from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0038_table_sizes"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="fanouttarget",
            index=models.Index(fields=["fan_out", "id"], name="fan_out_target_order"),
        ),
    ]
