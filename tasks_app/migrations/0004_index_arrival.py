from django.db import migrations

from controlplane.common.operations import IndexArrival


class Migration(migrations.Migration):
    """Before a past week is dropped, whether anything came for it lately is asked twice."""

    dependencies = [
        ("tasks_app", "0003_room_for_updates"),
    ]

    operations = [
        IndexArrival("MetricWindow", "received_at"),
        IndexArrival("CustomMetric", "received_at"),
    ]
