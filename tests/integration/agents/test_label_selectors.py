"""The database, of either kind, and `Selector.matches` agree on whom a selector means and who nearly is."""

import tracemalloc

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.labels import DERIVED, Operator, Requirement, Selector, number_of, parse
from agents.models import Event, Instance, InstanceFacts, InstanceLabels
from agents.models.instance import Dialect
from agents.selectors.labels import labels_of, matches_q, matching, near_misses
from tests.factories.agents import EventFactory, InstanceFactory, ServiceFactory

pytestmark = pytest.mark.django_db

VALUES = [
    *(
        "",
        "a",
        "A",
        "prod",
        "'",
        '"',
        "%",
        "_",
        "%s",
        "\\",
        "\\u0061",
        "上海",
        "🦊",
        "é",
        "a,b",
        " a",
        "null",
        "true",
        "[]",
        "{}",
    ),
    *(
        "1e5",
        "100000",
        "NaN",
        "Infinity",
        "-Infinity",
        "007",
        "7",
        "7.0",
        "+5",
        ".5",
        "5.",
        " 5",
        "5\n",
        "-0",
        "1e-999",
    ),
    *("9007199254740993", "9" * 128, "9" * 129, "1e1000", "0x1F", "٣", "1_0", "{" * 20, "x" * 1024),
]
NUMBERS = [value for value in VALUES if number_of(value) is not None]
KEYS = ["env", "a", "007", "1", "a.b", "a/b", "a-b", "环境", "labels", "effective"]
DERIVED_VALUES = ["", "a", "linux", "5", "7.5", "上海", "%", "'"]

values = st.sampled_from(VALUES)
label_maps = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
facts_maps = st.dictionaries(
    st.sampled_from(["os", "platform", "arch", "machine", "env"]),
    st.one_of(st.sampled_from(DERIVED_VALUES), st.sampled_from([None, 5, True, ["linux"], {"os": "linux"}])),
)
columns = st.fixed_dictionaries(
    {
        "dialect": st.sampled_from(Dialect.values),
        "deployment_version": st.sampled_from(DERIVED_VALUES),
        "agent_version": st.sampled_from(DERIVED_VALUES),
        "hostname": st.sampled_from(DERIVED_VALUES),
        "node_name": st.sampled_from(DERIVED_VALUES),
        "service": st.integers(0, 2),
    }
)
fleets = st.lists(
    st.tuples(columns, st.one_of(st.none(), label_maps), st.one_of(st.none(), facts_maps)), min_size=1, max_size=8
)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(DERIVED))
asked_values = st.one_of(values, st.sampled_from([*DERIVED_VALUES, *Dialect.values]))
requirements = st.one_of(
    st.builds(
        Requirement,
        keys,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(asked_values, min_size=1, max_size=12).map(tuple),
    ),
    st.builds(Requirement, keys, st.sampled_from([Operator.EXISTS, Operator.NOT_EXISTS])),
    st.builds(
        Requirement, keys, st.sampled_from([Operator.GT, Operator.LT]), st.sampled_from(NUMBERS).map(lambda n: (n,))
    ),
)
selectors = st.builds(
    Selector,
    st.dictionaries(keys, asked_values, max_size=2).map(lambda labels: tuple(labels.items())),
    st.lists(requirements, max_size=4).map(tuple),
)


def make_fleet(fleet):
    services = [
        ServiceFactory(name="a", environment="prod"),
        ServiceFactory(name="上海", environment="a"),
        ServiceFactory(name="5", environment="7.5"),
    ]
    for fields, labels, facts in fleet:
        instance = InstanceFactory(**{**fields, "service": services[fields["service"]]})
        if labels is not None:
            InstanceLabels.objects.create(instance=instance, agent=labels, effective=labels)
        if facts is not None:
            InstanceFacts.objects.create(instance=instance, facts=facts, changed_at=instance.created_at)


@given(fleet=fleets, asked=st.lists(selectors, min_size=1, max_size=4))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_database_and_python_agree(db, fleet, asked):
    with transaction.atomic():
        make_fleet(fleet)
        labels = {
            key: each.effective for key, each in labels_of(Instance.objects.select_related("service").all()).items()
        }
        for selector in asked:
            expected = {key for key, each in labels.items() if selector.matches(each)}
            assert set(matching(Instance.objects.all(), selector).values_list("pk", flat=True)) == expected, str(
                selector
            )
            assert near_counts(selector) == [count_of(part, selector, labels) for part in selector.parts()], str(
                selector
            )
        transaction.set_rollback(True)


def near_counts(selector):
    return [miss.count for miss in near_misses(Instance.objects.all(), selector)]


def count_of(part, selector, labels):
    return sum([each for each in selector.parts() if not each.matches(found)] == [part] for found in labels.values())


def labelled(labels=None, **fields):
    instance = InstanceFactory(**fields)
    if labels is not None:
        InstanceLabels.objects.create(instance=instance, effective=labels)
    return instance


def test_instances_without_labels_pass_what_denies():
    bare, empty, other = labelled(), labelled({}), labelled({"gpu": ""})

    assert set(matching(Instance.objects.all(), parse("!gpu,env!=prod"))) == {bare, empty}
    assert set(matching(Instance.objects.all(), parse("gpu,env!=prod"))) == {other}
    assert set(matching(Instance.objects.all(), Selector())) == {bare, empty, other}


def test_a_fact_that_is_missing_is_not_denied():
    instance = InstanceFactory()
    InstanceFacts.objects.create(instance=instance, facts={"machine": "arm64"}, changed_at=instance.created_at)

    assert list(matching(Instance.objects.all(), parse("portal/arch=arm64,portal/os!=linux"))) == [instance]


def test_rows_that_have_an_instance_are_asked_by_path():
    meant, other = labelled({"env": "prod"}), labelled({"env": "test"})
    events = [EventFactory(instance=instance) for instance in (meant, other)]

    selector = parse(f"env=prod,!gpu,portal/service={meant.service.name},portal/os!=linux")
    assert list(Event.objects.filter(matches_q(selector, "instance"))) == [events[0]]
    assert list(Event.objects.filter(matches_q(parse("env!=prod"), "instance"))) == [events[1]]


def test_labels_of_are_told_in_layers(django_assert_num_queries):
    instance = InstanceFactory(hostname="web-1", service=ServiceFactory(name="shop", environment="prod"))
    bare = InstanceFactory(service=instance.service, node_name="")
    InstanceLabels.objects.create(
        instance=instance, agent={"a": "1", "b": "1", "c": "1"}, tags={"b": "2", "c": "2"}, operator={"c": "3"}
    )
    InstanceFacts.objects.create(instance=instance, facts={"platform": "linux"}, changed_at=instance.created_at)

    with django_assert_num_queries(2):
        found = labels_of([instance, bare])

    assert {key: value for key, value in found[instance.pk].effective.items() if "/" not in key} == {
        "a": "1",
        "b": "2",
        "c": "3",
    }
    assert found[instance.pk].derived["portal/os"] == "linux"
    assert found[bare.pk].derived == {
        "portal/dialect": "onestep",
        "portal/environment": "prod",
        "portal/service": "shop",
    }


LARGE = {"large": "x" * 1_000_000}


def test_labels_of_reads_no_facts_but_those_that_make_labels():
    for facts in ({"os": 5, "platform": "linux"}, {"os": "5"}, {"os": ["x"], "arch": None, "machine": "arm"}, {}):
        instance = InstanceFactory()
        InstanceFacts.objects.create(instance=instance, facts=facts | LARGE, changed_at=instance.created_at)
    instances = list(Instance.objects.select_related("service").order_by("created_at"))

    tracemalloc.start()
    found = labels_of(instances)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    derived = [each.derived for each in found.values()]
    assert [(each.get("portal/os"), each.get("portal/arch")) for each in derived] == [
        ("linux", None),
        ("5", None),
        (None, "arm"),
        (None, None),
    ]
    assert peak_bytes < 1_000_000


def test_near_misses_count_and_show_who_fails_one_requirement(django_assert_num_queries):
    labelled({"env": "prod", "cpu": "16"}, node_name="hit")
    for number in range(3):
        labelled({"env": "prod", "cpu": "4"}, node_name=f"slow-{number}")
    labelled({"env": "test", "cpu": "16"}, node_name="elsewhere")
    labelled({"env": "test"}, node_name="far")
    labelled({"env": "prod", "cpu": "4"}, node_name="unseen", service=ServiceFactory(environment="secret"))
    rows = Instance.objects.select_related("service").filter(service__environment="dev")

    with django_assert_num_queries(3):
        misses = near_misses(rows, parse("env=prod,cpu>8,!gpu"), example_count=2)
        shown = [(str(each.requirement), each.count, [str(e.node_name) for e in each.examples]) for each in misses]

    assert shown == [("env=prod", 1, ["elsewhere"]), ("cpu>8", 3, ["slow-0", "slow-1"]), ("!gpu", 0, [])]


FLEET = """
    INSERT INTO agents_instance (id, dialect, external_id, service_id, node_name, hostname, deployment_version,
        agent_version, python_version, connectivity, health, last_topology_hash, created_at, updated_at)
    SELECT gen_random_uuid(), 'argus', n, %s, 'node-' || n, '', '', '', '', 'online', 'ok', '', now(), now()
    FROM generate_series(1, 50000) n;
    INSERT INTO agents_instancelabels (instance_id, agent, tags, operator, refused, effective)
    SELECT id, '{}', '{}', '{}', '{}', jsonb_build_object('host', 'web-' || n, 'cpu', (n %% 64)::text,
            'zone', 'z' || n %% 10, 'env', CASE WHEN n %% 4 = 0 THEN 'prod' ELSE 'test' || n %% 3 END)
        || CASE WHEN n %% 100 = 0 THEN '{"gpu": ""}'::jsonb ELSE '{}' END
    FROM (SELECT id, external_id::int AS n FROM agents_instance) AS numbered;
    ANALYZE agents_service;
    ANALYZE agents_instance;
    ANALYZE agents_instancelabels;
"""


@pytest.fixture
def fleet(db):
    """50,000 labelled instances: each has a host of its own, a quarter is prod, a hundredth has gpu."""
    with connection.cursor() as cursor:
        cursor.execute(FLEET, [ServiceFactory().pk])


@pytest.mark.needs_postgres
def test_index_finds_few_among_many(fleet):
    for text in ("host=web-800,env!=test1,cpu>3", "host in (web-800,web-900),gpu,!arm"):
        rows = matching(Instance.objects.all(), parse(text))

        plan = rows.explain()

        assert rows.count() == text.count("web-")
        assert "Bitmap Index Scan on labels_effective" in plan
        assert "Seq Scan" not in plan
