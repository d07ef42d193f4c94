from django.db import migrations, models


class Migration(migrations.Migration):
    """Tell by a digest whether facts changed: they may be large, and come again with each hello."""

    dependencies = [
        ('agents', '0037_archives_and_removals'),
    ]

    operations = [
        migrations.AddField(
            model_name='instancefacts',
            name='digest',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=32),
        ),
    ]
