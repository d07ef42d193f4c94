"""Pages of history: their total is cheap, and whoever pages on until the total meets every row."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Event
from agents.selectors.events import task_events
from controlplane.common.rest import paging
from controlplane.common.rest.paging import page_of
from tests.factories import EventFactory, InstanceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def five_events(monkeypatch):
    monkeypatch.setattr(paging, "COUNTED_BEYOND_PAGE", 2)
    EventFactory.create_batch(5, instance=InstanceFactory())


@pytest.mark.parametrize(("offset", "total"), [(0, 3), (1, 4), (2, 5), (4, 5), (9, 5)])
def test_history_is_counted_so_far_beyond_the_page(five_events, offset, total):
    page = page_of(task_events(), {"limit": 1, "offset": offset}, is_history=True)

    assert page.total == total
    assert len(page.items) == (1 if offset < 5 else 0)


def test_paging_on_until_the_total_meets_every_row(five_events):
    seen, total = [], 1
    while len(seen) < total:
        page = page_of(task_events(), {"limit": 1, "offset": len(seen)}, is_history=True)
        seen += page.items
        total = page.total

    assert seen == list(task_events())


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_rows_of_one_moment_are_met_and_counted_once(limit):
    now, instance = timezone.now(), InstanceFactory()
    for seconds in (0, 0, 0, 1, 2, 2):
        EventFactory(instance=instance, occurred_at=now - timedelta(seconds=seconds))
    whole = list(task_events())

    pages = [page_of(task_events(), {"limit": limit, "offset": at}, is_history=True) for at in range(0, 8, limit)]

    assert [row for page in pages for row in page.items] == whole
    assert {page.total for page in pages} == {6}


def test_anything_else_is_counted_whole(five_events):
    assert page_of(Event.objects.order_by("pk"), {"limit": 1, "offset": 0}).total == 5
