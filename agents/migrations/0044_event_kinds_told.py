
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0043_health_changed_at'),
    ]

    operations = [
        migrations.AlterField(
            model_name='event',
            name='kind',
            field=models.CharField(choices=[('task.started', 'Task started'), ('task.succeeded', 'Task succeeded'), ('task.retried', 'Task retried'), ('task.failed', 'Task failed'), ('task.dead_lettered', 'Task dead-lettered'), ('task.cancelled', 'Task cancelled'), ('task.missed_start', 'Start missed'), ('instance.registered', 'Node registered'), ('instance.online', 'Instance online'), ('instance.offline', 'Instance offline'), ('instance.health_changed', 'Health changed'), ('instance.conflict', 'Identity conflict'), ('instance.archived', 'Instance archived'), ('instance.restored', 'Instance restored'), ('session.opened', 'Session opened'), ('session.superseded', 'Session superseded'), ('session.closed', 'Session closed'), ('agent.refused', 'Agent refused'), ('service.topology_changed', 'Topology changed'), ('service.archived', 'Service archived'), ('service.restored', 'Service restored'), ('channel.failing', 'Channel failing'), ('channel.recovered', 'Channel delivers again'), ('portal.lagging', 'Portal lagging'), ('portal.recovered', 'Portal caught up'), ('nodes_file.failed', 'nodes.json not written'), ('nodes_file.recovered', 'nodes.json written again'), ('ingest.rejected', 'Records rejected'), ('command.queued', 'Command queued'), ('command.dispatched', 'Command dispatched'), ('command.accepted', 'Command accepted'), ('command.rejected', 'Command rejected'), ('command.succeeded', 'Command succeeded'), ('command.failed', 'Command failed'), ('command.timeout', 'Command timed out'), ('command.expired', 'Command expired'), ('command.cancelled', 'Command cancelled'), ('token.created', 'Token created'), ('token.revoked', 'Token revoked'), ('object.created', 'Object created'), ('object.changed', 'Object changed'), ('object.deleted', 'Object deleted'), ('schedule.run', 'Schedule run by hand'), ('login.succeeded', 'Logged in'), ('login.failed', 'Login refused'), ('login.locked', 'Login locked'), ('login.ended', 'Logged out')], max_length=64, verbose_name='kind'),
        ),
    ]
