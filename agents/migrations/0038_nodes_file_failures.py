import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Who could not write nodes.json, and when last: what another process can write proves nothing."""

    dependencies = [
        ('agents', '0037_archives_and_removals'),
    ]

    operations = [
        migrations.AddField(
            model_name='nodesfile',
            name='failed_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='failed last'),
        ),
        migrations.AddField(
            model_name='nodesfile',
            name='failed_by',
            field=models.TextField(blank=True, help_text='The host and the user that could not write.', verbose_name='failed by'),
        ),
        migrations.AlterField(
            model_name='nodesfile',
            name='checked_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='checked'),
        ),
    ]
