from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0042_services_in_order")]

    operations = [
        migrations.AddField(
            model_name="instance",
            name="health_changed_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="health since"),
        ),
    ]
