import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Labels in layers and facts, each beside its instance: heartbeats rewrite that row and must not carry them."""

    dependencies = [
        ('agents', '0033_nodes'),
    ]

    operations = [
        migrations.CreateModel(
            name='InstanceFacts',
            fields=[
                ('instance', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='facts', serialize=False, to='agents.instance', verbose_name='instance')),
                ('facts', models.JSONField(blank=True, default=dict, verbose_name='facts')),
                ('changed_at', models.DateTimeField(verbose_name='changed')),
            ],
            options={
                'verbose_name': 'facts of an instance',
                'verbose_name_plural': 'facts of instances',
                'indexes': [django.contrib.postgres.indexes.GinIndex(fields=['facts'], name='facts_facts', opclasses=('jsonb_path_ops',))],
            },
        ),
        migrations.CreateModel(
            name='InstanceLabels',
            fields=[
                ('instance', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='labels', serialize=False, to='agents.instance', verbose_name='instance')),
                ('agent', models.JSONField(blank=True, default=dict, verbose_name='labels of the agent')),
                ('operator', models.JSONField(blank=True, default=dict, verbose_name='labels of operators')),
                ('effective', models.JSONField(blank=True, default=dict, verbose_name='labels')),
            ],
            options={
                'verbose_name': 'labels of an instance',
                'verbose_name_plural': 'labels of instances',
                'indexes': [django.contrib.postgres.indexes.GinIndex(fields=['effective'], name='labels_effective')],
            },
        ),
    ]
