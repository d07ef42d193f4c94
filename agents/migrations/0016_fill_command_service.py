from django.db import migrations

from controlplane.common.operations import copy_from_parent


class Migration(migrations.Migration):
    """Commands from before say of which service they are, too."""

    atomic = False

    dependencies = [
        ("agents", "0015_command_service"),
    ]

    operations = [
        copy_from_parent(("agents", "Command"), ("agents", "Instance"), link="instance", column="service"),
    ]
