from django.db import migrations, models


def _since():
    return models.DateTimeField(
        blank=True,
        null=True,
        verbose_name='being forgotten since',
        help_text='Nobody is let in under its name meanwhile.',
    )


class Migration(migrations.Migration):
    """Who is being forgotten is let in by nobody, and a hello reads that along with the row that it locks anyway."""

    dependencies = [
        ('agents', '0038_facts_digest'),
    ]

    operations = [
        migrations.AddField(model_name='instance', name='forget_requested_at', field=_since()),
        migrations.AddField(model_name='service', name='forget_requested_at', field=_since()),
        migrations.AddField(
            model_name='removal', name='origin', field=models.JSONField(blank=True, default=dict, editable=False)
        ),
        migrations.AddField(
            model_name='removal',
            name='kept_reason',
            field=models.CharField(blank=True, help_text='Empty where all of it is gone.', max_length=255, verbose_name='why something is left', default=''),
            preserve_default=False,
        ),
        migrations.AlterModelOptions(
            name='removal',
            options={'ordering': ('-requested_at', '-id'), 'verbose_name': 'removal', 'verbose_name_plural': 'removals'},
        ),
        migrations.AddIndex(
            model_name='removal', index=models.Index(fields=['-requested_at', '-id'], name='removal_newest')
        ),
    ]
