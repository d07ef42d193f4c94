from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0040_saved_views")]

    operations = [
        migrations.AddField(
            model_name="agenttoken",
            name="expires_unless_used",
            field=models.BooleanField(
                db_default=False, default=False, editable=False, verbose_name="expires unless used"
            ),
        ),
    ]
