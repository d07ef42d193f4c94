from django.db import migrations, models


class Migration(migrations.Migration):
    """From where each API token was last used."""

    dependencies = [
        ('access', '0008_roles_see_the_fleet'),
    ]

    operations = [
        migrations.AddField(
            model_name='apitoken',
            name='last_used_from',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=64, verbose_name='last used from'),
        ),
    ]
