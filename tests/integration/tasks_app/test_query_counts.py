"""What each GET costs that no other test counts: as many statements for three rows as for one."""

import pytest
from django.utils import timezone

from tests.factories import (
    CommandFactory,
    EventFactory,
    InstanceFactory,
    MetricWindowFactory,
    ServiceFactory,
    SessionFactory,
    TaskFactory,
)
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
S = "services/web"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("path", "queries"),
    [
        (S, 6),
        (f"{S}/tasks/pay", 15),
        (f"{S}/instances/{{instance}}", 13),
        (f"{S}/metric-windows", 3),
        (f"{S}/events", 4),
        ("instances/{instance}", 5),
        ("instances/{instance}/commands", 3),
        ("commands/{command}", 2),
        # A limit of time and its transaction among them.
        pytest.param("metrics/durations/series", 6, marks=pytest.mark.needs_postgres),
    ],
)
def test_a_page_costs_the_same_for_many(django_assert_num_queries, path, queries, count):
    service, now, api = ServiceFactory(name="web"), timezone.now(), api_as("viewer")
    TaskFactory(service=service, name="pay")
    for _ in range(count):
        instance = InstanceFactory(service=service, online=True)
        command = CommandFactory(instance=instance, session=SessionFactory(instance=instance))
        CommandFactory.create_batch(count - 1, instance=instance)
        MetricWindowFactory.create_batch(count, instance=instance, task_name="pay", window_ended_at=now)
        EventFactory.create_batch(
            count, instance=instance, kind="task.succeeded", task_name="pay", occurred_at=now, duration_ms=1
        )
    api.get("services")

    with django_assert_num_queries(queries):
        response = api.get(path.format(instance=instance.pk, command=command.public_id), {"environment": "dev"})

    assert response.status_code == 200
