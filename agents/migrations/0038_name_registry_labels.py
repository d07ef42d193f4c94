from django.db import migrations, models


class Migration(migrations.Migration):
    """Words of fields alone; the database stays as it is."""

    dependencies = [
        ('agents', '0037_archives_and_removals'),
    ]

    operations = [
        migrations.AlterField(
            model_name='instancelabels',
            name='tags',
            field=models.JSONField(blank=True, default=dict, help_text='Those labels of its node that selectors know.', verbose_name='registry labels'),
        ),
        migrations.AlterField(
            model_name='node',
            name='label',
            field=models.JSONField(blank=True, default=list, verbose_name='registry labels'),
        ),
    ]
