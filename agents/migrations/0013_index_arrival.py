from django.db import migrations

from controlplane.common.operations import IndexArrival


class Migration(migrations.Migration):
    """Before a past week is dropped, whether anything came for it lately is asked twice."""

    dependencies = [
        ("agents", "0012_reported_times"),
    ]

    operations = [
        IndexArrival("Event", "received_at"),
    ]
