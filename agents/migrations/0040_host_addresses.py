import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Network addresses beside the facts that hold them: two instances with one of them are found by an index."""

    dependencies = [
        ('agents', '0039_forgetting'),
    ]

    operations = [
        migrations.CreateModel(
            name='HostAddress',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('mac', models.CharField(max_length=17, verbose_name='MAC address')),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='host_addresses', to='agents.instance', verbose_name='instance')),
            ],
            options={
                'verbose_name': 'host address',
                'verbose_name_plural': 'host addresses',
                'indexes': [models.Index(fields=['mac'], name='host_address_mac')],
                'constraints': [models.UniqueConstraint(fields=('instance', 'mac'), name='host_address')],
            },
        ),
    ]
