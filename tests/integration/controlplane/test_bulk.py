"""UPDATE ... FROM (VALUES ...) on a real database."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Instance
from controlplane.common import bulk
from tests.factories import InstanceFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def update(rows, **options):
    return bulk.update_from_values(
        Instance,
        ("id", "node_name", "last_seen_at", "uptime_s"),
        rows,
        assignments="node_name = v.node_name, last_seen_at = v.last_seen_at, uptime_s = v.uptime_s",
        **options,
    )


def test_each_row_gets_its_own_values_of_every_type():
    first, second, other = InstanceFactory.create_batch(3)

    changed = update(
        [(first.pk, "a'; --", NOW, 1), (second.pk, "b", None, 2**40), (uuid.uuid4(), "no such row", NOW, 3)]
    )

    assert changed == 2
    rows = {row.pk: (row.node_name, row.last_seen_at, row.uptime_s) for row in Instance.objects.all()}
    assert rows == {
        first.pk: ("a'; --", NOW, 1),
        second.pk: ("b", None, 2**40),
        other.pk: (other.node_name, None, None),
    }


def test_the_first_row_may_hold_nothing_but_nulls():
    first, second = InstanceFactory.create_batch(2)

    assert update([(first.pk, "a", None, None), (second.pk, "b", NOW, 5)]) == 2


def test_the_condition_decides_row_by_row():
    old = InstanceFactory(last_seen_at=NOW - timedelta(days=1))
    new = InstanceFactory(last_seen_at=NOW + timedelta(days=1))

    changed = update([(old.pk, "x", NOW, 1), (new.pk, "x", NOW, 1)], condition="t.last_seen_at < v.last_seen_at")

    assert (changed, Instance.objects.get(node_name="x").pk) == (1, old.pk)


def test_more_rows_than_one_statement_holds(monkeypatch):
    monkeypatch.setattr(bulk, "_VARIABLES_MAX", 10)
    instances = InstanceFactory.create_batch(7)

    assert update([(instance.pk, "x", NOW, 1) for instance in instances]) == 7


def test_no_rows_need_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert update([]) == 0
