import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Nodes of the registry, their counter, how nodes.json fares, and the kinds of event that come with them."""

    dependencies = [
        ("agents", "0032_events_by_time_with_their_duration"),
    ]

    operations = [
        migrations.CreateModel(
            name="Node",
            fields=[
                (
                    "instance",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="node",
                        serialize=False,
                        to="agents.instance",
                        verbose_name="instance",
                    ),
                ),
                (
                    "number",
                    models.BigIntegerField(
                        help_text="What the id counts; never given twice.", unique=True, verbose_name="number"
                    ),
                ),
                ("name", models.CharField(max_length=255, unique=True, verbose_name="name")),
                ("type", models.CharField(max_length=255, verbose_name="type")),
                ("version", models.CharField(max_length=255, verbose_name="version")),
                ("config", models.JSONField(blank=True, default=dict, verbose_name="config")),
                ("label", models.JSONField(blank=True, default=list, verbose_name="registry labels")),
                ("health", models.JSONField(blank=True, default=dict, verbose_name="health")),
                ("registered_at", models.DateTimeField(verbose_name="registered")),
                ("updated_at", models.DateTimeField(verbose_name="updated")),
            ],
            options={
                "verbose_name": "node",
                "verbose_name_plural": "nodes",
                "ordering": ("number",),
            },
        ),
        migrations.CreateModel(
            name="NodeCounter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "node counter",
                "verbose_name_plural": "node counters",
            },
        ),
        migrations.CreateModel(
            name="NodesFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("path", models.TextField(blank=True, verbose_name="path")),
                ("written_at", models.DateTimeField(blank=True, null=True, verbose_name="written")),
                ("checked_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="checked")),
                ("failing_since", models.DateTimeField(blank=True, null=True, verbose_name="failing since")),
                ("failed_at", models.DateTimeField(blank=True, null=True, verbose_name="failed last")),
                (
                    "failed_by",
                    models.TextField(
                        blank=True, help_text="The host and the user that could not write.", verbose_name="failed by"
                    ),
                ),
                ("error", models.TextField(blank=True, verbose_name="error")),
                ("node_count", models.PositiveIntegerField(default=0, verbose_name="nodes")),
            ],
            options={
                "verbose_name": "nodes file",
                "verbose_name_plural": "nodes files",
            },
        ),
        migrations.AlterField(
            model_name="event",
            name="kind",
            field=models.CharField(
                choices=[
                    ("task.started", "Task started"),
                    ("task.succeeded", "Task succeeded"),
                    ("task.retried", "Task retried"),
                    ("task.failed", "Task failed"),
                    ("task.dead_lettered", "Task dead-lettered"),
                    ("task.cancelled", "Task cancelled"),
                    ("instance.registered", "Node registered"),
                    ("instance.online", "Instance online"),
                    ("instance.offline", "Instance offline"),
                    ("instance.health_changed", "Health changed"),
                    ("instance.conflict", "Identity conflict"),
                    ("instance.archived", "Instance archived"),
                    ("instance.restored", "Instance restored"),
                    ("session.opened", "Session opened"),
                    ("session.superseded", "Session superseded"),
                    ("session.closed", "Session closed"),
                    ("agent.refused", "Agent refused"),
                    ("service.topology_changed", "Topology changed"),
                    ("service.archived", "Service archived"),
                    ("service.restored", "Service restored"),
                    ("nodes_file.failed", "nodes.json not written"),
                    ("nodes_file.recovered", "nodes.json written again"),
                    ("ingest.rejected", "Records rejected"),
                    ("command.queued", "Command queued"),
                    ("command.dispatched", "Command dispatched"),
                    ("command.accepted", "Command accepted"),
                    ("command.rejected", "Command rejected"),
                    ("command.succeeded", "Command succeeded"),
                    ("command.failed", "Command failed"),
                    ("command.timeout", "Command timed out"),
                    ("command.expired", "Command expired"),
                    ("command.cancelled", "Command cancelled"),
                    ("token.created", "Token created"),
                    ("token.revoked", "Token revoked"),
                    ("object.created", "Object created"),
                    ("object.changed", "Object changed"),
                    ("object.deleted", "Object deleted"),
                    ("schedule.run", "Schedule run by hand"),
                    ("login.succeeded", "Logged in"),
                    ("login.failed", "Login refused"),
                    ("login.locked", "Login locked"),
                    ("login.ended", "Logged out"),
                ],
                max_length=64,
                verbose_name="kind",
            ),
        ),
    ]
