from django.db import migrations, models


class Migration(migrations.Migration):
    """Which labels of an agent were left out, and why: told to operators once, and shown as long as it is so."""

    dependencies = [
        ('agents', '0038_tags_of_nodes'),
    ]

    operations = [
        migrations.AddField(
            model_name='instancelabels',
            name='refused',
            field=models.JSONField(blank=True, default=dict, help_text='Labels of the agent that may not be, each with why.', verbose_name='left out'),
        ),
    ]
