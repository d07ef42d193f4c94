from django.db import migrations

from controlplane.common.operations import copy_from_parent


class Migration(migrations.Migration):
    """Sessions from before say of which service they are, too."""

    atomic = False

    dependencies = [
        ("agents", "0019_session_service"),
    ]

    operations = [
        copy_from_parent(("agents", "Session"), ("agents", "Instance"), link="instance", column="service"),
    ]
