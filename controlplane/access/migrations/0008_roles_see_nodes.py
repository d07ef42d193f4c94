"""Every role may look at the nodes of the registry."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("viewer", "operator", "admin")


def grant(apps, schema_editor):
    """Permissions are made here: Django makes them after the last migration."""
    using = schema_editor.connection.alias
    config = apps.get_app_config("agents")
    # A historical app has no models module, and create_permissions passes by apps without one.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=using)
    config.models_module = None
    permission = apps.get_model("auth", "Permission").objects.using(using)
    seen = permission.get(content_type__app_label="agents", codename="view_node")
    for name in ROLES:
        group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=name)
        group.permissions.add(seen)


class Migration(migrations.Migration):
    dependencies = [("access", "0007_index_newest"), ("agents", "0038_node_report_time_of_its_instance")]

    # Going back keeps what was granted: without the pages it opens nothing.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
