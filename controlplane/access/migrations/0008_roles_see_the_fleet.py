"""Every role sees nodes, groups, fan-outs and removals; operators and admins make, change and delete groups."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN = ("view_node", "view_group", "view_fanout", "view_removal")
CHANGED = ("add_group", "change_group", "delete_group")


def grant(apps, schema_editor):
    """Permissions are made here: Django makes them after the last migration."""
    using = schema_editor.connection.alias
    config = apps.get_app_config("agents")
    # A historical app has no models module, and create_permissions passes by apps without one.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=using)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.using(using).filter(content_type__app_label="agents")
    seen, changed = (list(permissions.filter(codename__in=names)) for names in (SEEN, CHANGED))
    for name, granted in (("viewer", seen), ("operator", seen + changed), ("admin", seen + changed)):
        group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=name)
        group.permissions.add(*granted)


class Migration(migrations.Migration):
    dependencies = [("access", "0007_index_newest"), ("agents", "0037_archives_and_removals")]

    # Going back keeps what was granted: without the pages it opens nothing.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
