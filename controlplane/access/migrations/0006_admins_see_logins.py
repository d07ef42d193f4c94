"""The role admin may look at logins and failed logins."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN_BY_ADMINS = ("view_failedlogin", "view_successfullogin")


def grant(apps, schema_editor):
    """Permissions are made here: Django makes them after the last migration."""
    using = schema_editor.connection.alias
    config = apps.get_app_config("access")
    # A historical app has no models module, and create_permissions passes by apps without one.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=using)
    config.models_module = None
    group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name="admin")
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    group.permissions.add(*permissions.filter(content_type__app_label="access", codename__in=SEEN_BY_ADMINS))


class Migration(migrations.Migration):
    dependencies = [("access", "0005_login_history")]

    # Going back keeps what was granted: without the pages it opens nothing.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
