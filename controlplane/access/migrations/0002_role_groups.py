"""The groups viewer, operator and admin, with the permissions that the console goes by."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

PRODUCT_APPS = ("agents", "tasks_app")
ALL_APPS = (*PRODUCT_APPS, "access", "auth")
ADMIN_PERMISSIONS = {
    "agents": ("send_destructive_command", "add_agenttoken", "change_agenttoken"),
    "access": ("view_apitoken", "add_apitoken", "change_apitoken"),
    "auth": ("view_user", "add_user", "change_user", "view_group", "add_group", "change_group"),
}


def make_groups(apps, schema_editor):
    """Create the groups and grant what they lack. Permissions are made here: Django makes them after the last migration."""
    using = schema_editor.connection.alias
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    for label in ALL_APPS:
        config = apps.get_app_config(label)
        # A historical app has no models module, and create_permissions passes by apps without one.
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0, using=using)
        config.models_module = None

    permissions = Permission.objects.using(using)
    view = list(permissions.filter(content_type__app_label__in=PRODUCT_APPS, codename__startswith="view_"))
    send = list(permissions.filter(content_type__app_label="agents", codename="send_command"))
    administer = [
        permission
        for label, codenames in ADMIN_PERMISSIONS.items()
        for permission in permissions.filter(content_type__app_label=label, codename__in=codenames)
    ]
    for name, granted in (("viewer", view), ("operator", view + send), ("admin", view + send + administer)):
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.add(*granted)


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0001_initial"),
        ("agents", "0001_initial"),
        ("tasks_app", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    # Going back keeps the groups: people are in them, and they harm nobody.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
