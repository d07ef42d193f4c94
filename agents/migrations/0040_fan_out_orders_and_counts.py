import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """What a fan-out needs to be read without its commands, and to be given again to those that failed."""

    dependencies = [
        ('agents', '0039_labels_left_out'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='fanouttarget',
            name='command_id',
        ),
        migrations.AddField(
            model_name='fanout',
            name='args',
            field=models.JSONField(blank=True, default=dict, verbose_name='arguments'),
        ),
        migrations.AddField(
            model_name='fanout',
            name='dispatched',
            field=models.PositiveIntegerField(default=0, verbose_name='dispatched'),
        ),
        migrations.AddField(
            model_name='fanout',
            name='queued',
            field=models.PositiveIntegerField(default=0, verbose_name='queued'),
        ),
        migrations.AddField(
            model_name='fanout',
            name='rejected',
            field=models.PositiveIntegerField(default=0, verbose_name='rejected'),
        ),
        migrations.AddField(
            model_name='fanout',
            name='retry_of',
            field=models.ForeignKey(blank=True, help_text='The fan-out whose failed targets it was given to again.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='retries', to='agents.fanout', verbose_name='repeats'),
        ),
        migrations.AddField(
            model_name='fanout',
            name='skipped',
            field=models.PositiveIntegerField(default=0, verbose_name='skipped'),
        ),
        migrations.AddField(
            model_name='fanouttarget',
            name='command',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='targets', to='agents.command', verbose_name='command'),
        ),
        migrations.AlterModelOptions(
            name='group',
            options={'ordering': ('name',), 'verbose_name': 'group of instances', 'verbose_name_plural': 'groups of instances'},
        ),
        migrations.AlterField(
            model_name='fanout',
            name='group_name',
            field=models.CharField(blank=True, max_length=100, verbose_name='group of instances'),
        ),
        migrations.AlterField(
            model_name='fanout',
            name='target_mode',
            field=models.CharField(choices=[('all_online', 'All online of a service'), ('selected_instances', 'Chosen instances'), ('selector', 'Selector'), ('group', 'Group of instances')], max_length=32, verbose_name='targets'),
        ),
    ]
