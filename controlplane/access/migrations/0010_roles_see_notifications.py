"""Every role sees what is told to whom; operators and admins make channels, rules and silences, and send again."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEEN = ("view_channel", "view_rule", "view_alert", "view_delivery", "view_silence")
CHANGED = (
    *(f"{verb}_{model}" for model in ("channel", "rule") for verb in ("add", "change", "delete")),
    "add_silence",
    "change_silence",
    "change_delivery",
)


def grant(apps, schema_editor):
    """Permissions are made here: Django makes them after the last migration."""
    using = schema_editor.connection.alias
    config = apps.get_app_config("notifications")
    # A historical app has no models module, and create_permissions passes by apps without one.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=using)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    ours = permissions.filter(content_type__app_label="notifications")
    seen, changed = (list(ours.filter(codename__in=names)) for names in (SEEN, CHANGED))
    for name, granted in (("viewer", seen), ("operator", seen + changed), ("admin", seen + changed)):
        group, _ = apps.get_model("auth", "Group").objects.using(using).get_or_create(name=name)
        group.permissions.add(*granted)


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0009_apitoken_last_used_from"),
        ("notifications", "0001_channels_rules_alerts_deliveries"),
    ]

    # Going back keeps what was granted: without the pages it opens nothing.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
