from django.db import migrations, models


class Migration(migrations.Migration):
    """The tags of registered nodes as a layer of their own, between the agent's labels and the operators'."""

    dependencies = [
        ('agents', '0037_archives_and_removals'),
    ]

    operations = [
        migrations.AddField(
            model_name='instancelabels',
            name='tags',
            field=models.JSONField(blank=True, default=dict, help_text='The list of labels that a node was registered with.', verbose_name='tags'),
        ),
    ]
