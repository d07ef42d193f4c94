"""Which instances of a service run which topology, and in what these differ."""

import pytest

from tasks_app.selectors.drift import EXAMPLES, FIELDS_SHOWN, GROUPS_MAX, VALUE_CHARS, difference, drift
from tests.factories import AppSnapshotFactory, InstanceFactory, ServiceFactory
from tests.frames import task


def app(*tasks, **settings):
    return {"name": "billing", "topology_hash": "any", "shutdown_timeout_s": 30, "tasks": list(tasks)} | settings


def running(service, topology_hash, said=None, *, count=1, online=True, **fields):
    instances = InstanceFactory.create_batch(
        count, service=service, online=online, offline=not online, last_topology_hash=topology_hash, **fields
    )
    for instance in instances:
        if said is not None:
            AppSnapshotFactory(instance=instance, app=said)
    return instances


@pytest.mark.django_db
def test_groups_tell_who_runs_what_and_what_differs():
    service = ServiceFactory(latest_topology_hash="sha256:new")
    many = running(service, "sha256:old", app(task("a"), task("gone")), count=3, deployment_version="1")
    few = running(service, "sha256:new", app(task("a", concurrency=4), task("b")), count=2, deployment_version="2")
    running(service, "sha256:new", app(), online=False, deployment_version="2")

    found = drift(service)

    assert found.is_drifted
    new, old = found.groups
    assert (new.topology_hash, new.is_reference, new.online, new.elsewhere) == ("sha256:new", True, 2, 1)
    assert new.versions == [("2", 3)]
    assert set(new.examples) >= set(few)
    assert (old.online, old.elsewhere, old.versions) == (3, 0, [("1", 3)])
    assert set(old.examples) == set(many)
    assert old.difference.removed == ["b"]
    assert old.difference.added == ["gone"]
    (change,) = old.difference.changed
    assert (change.name, [(each.path, each.before, each.after) for each in change.fields]) == (
        "a",
        [("concurrency", "4", "1")],
    )


@pytest.mark.django_db
def test_the_difference_is_what_online_instances_said():
    service = ServiceFactory(latest_topology_hash="x")
    running(service, "x", app(task("a")), online=False, node_name="a-first-by-name")
    running(service, "x", app(task("a"), task("b")), node_name="z")
    running(service, "y", app(task("a")))

    _reference, other = drift(service).groups

    assert other.difference.removed == ["b"]


@pytest.mark.django_db
def test_topologies_of_who_is_away_are_shown_and_are_no_drift():
    service = ServiceFactory(latest_topology_hash="x")
    running(service, "x", app())
    running(service, "y", app(), online=False)
    archived = running(service, "z", app())[0]
    archived.archived_at = archived.created_at
    archived.save()

    found = drift(service)

    assert not found.is_drifted
    assert [group.topology_hash for group in found.groups] == ["x", "y"]


@pytest.mark.django_db
def test_where_all_run_the_same_there_is_nothing_to_tell(django_assert_num_queries):
    service = ServiceFactory(latest_topology_hash="x")
    running(service, "x", app(), count=3)
    running(service, "", None)

    with django_assert_num_queries(1):
        found = drift(service)

    assert (found.groups, found.group_count, found.is_drifted) == ([], 1, False)


@pytest.mark.django_db
@pytest.mark.parametrize("count", [2, 3, GROUPS_MAX + 2])
def test_many_topologies_take_three_queries_and_are_bounded(count, django_assert_num_queries):
    service = ServiceFactory(latest_topology_hash="h0")
    for number in range(count):
        running(service, f"h{number}", app(task(f"t{number}")), count=EXAMPLES + 2)

    with django_assert_num_queries(3):
        found = drift(service)

    assert len(found.groups) == min(count, GROUPS_MAX)
    assert found.group_count == count
    assert all(len(group.examples) == EXAMPLES and group.more == 2 for group in found.groups)
    assert found.groups[0].topology_hash == "h0"


@pytest.mark.django_db
def test_an_instance_that_told_nothing_in_detail_is_shown_without_a_difference():
    service = ServiceFactory(latest_topology_hash="x")
    running(service, "x", app(task("a")))
    running(service, "y", None)

    assert drift(service).groups[1].difference is None


def test_order_and_identity_are_no_difference():
    before = app(task("a"), task("b"), name="one")
    after = app(task("b"), task("a"), name="two", topology_hash="other")

    assert difference(before, after).is_empty


def test_sinks_are_compared_by_their_names():
    first, second = {"kind": "memory", "name": "x"}, {"kind": "http", "name": "y", "config": {"timeout": 1}}
    before = app(task("a", emit=[first, second]))
    after = app(task("a", emit=[second | {"config": {"timeout": 2}}]))

    (change,) = difference(before, after).changed

    assert [(each.path, each.before, each.after) for each in change.fields] == [
        ("emit[x].kind", '"memory"', ""),
        ("emit[x].name", '"x"', ""),
        ("emit[y].config.timeout", "1", "2"),
    ]


def test_settings_of_the_app_are_compared():
    (change,) = difference(app(), app(shutdown_timeout_s=60)).settings

    assert (change.path, change.before, change.after) == ("shutdown_timeout_s", "30", "60")


def test_long_values_that_differ_at_their_end_differ():
    long = "x" * (VALUE_CHARS * 2)

    (change,) = difference(app(task("a", description=long)), app(task("a", description=long + "y"))).changed

    assert [each.path for each in change.fields] == ["description"]
    assert len(change.fields[0].after) == VALUE_CHARS + 1


def test_a_flood_of_fields_is_bounded():
    source = {"kind": "x", "name": "s", "config": {f"k{number:03}": number for number in range(FIELDS_SHOWN + 5)}}

    (change,) = difference(app(task("a", source=None)), app(task("a", source=source))).changed

    assert len(change.fields) == FIELDS_SHOWN
    assert change.more == 7


@pytest.mark.parametrize("tasks", [None, "text", [1, "x", None], {"a": 1}])
def test_what_is_no_list_of_tasks_is_no_tasks(tasks):
    assert difference(app(), app() | {"tasks": tasks}).is_empty
