"""Logins and failed logins as the console shows them, and indexes for how they are counted, listed and cleaned.

The tables are django-axes'; it indexes username and address without the time, and not the time.
"""

from django.db import migrations

INDEXES = {
    "access_failed_by_username": ("axes_accessfailurelog", "username, attempt_time"),
    "access_failed_by_address": ("axes_accessfailurelog", "ip_address, attempt_time"),
    "access_failed_by_time": ("axes_accessfailurelog", "attempt_time"),
    "access_login_by_username": ("axes_accesslog", "username, ip_address, attempt_time"),
    "access_login_by_time": ("axes_accesslog", "attempt_time"),
}


class Migration(migrations.Migration):
    dependencies = [("access", "0004_console_sessions"), ("axes", "0010_accessattemptexpiration")]

    operations = [
        migrations.CreateModel(
            name="FailedLogin",
            fields=[],
            options={
                "verbose_name": "failed login",
                "verbose_name_plural": "failed logins",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("axes.accessfailurelog",),
        ),
        migrations.CreateModel(
            name="SuccessfulLogin",
            fields=[],
            options={
                "verbose_name": "login",
                "verbose_name_plural": "logins",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("axes.accesslog",),
        ),
        *(
            migrations.RunSQL(f"CREATE INDEX {name} ON {table} ({columns})", f"DROP INDEX {name}")
            for name, (table, columns) in INDEXES.items()
        ),
    ]
