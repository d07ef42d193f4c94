"""GET /api/v1/master/nodes.sd.json: who may ask, what is answered, what a client may keep."""

import pytest
from django.utils import timezone

from agents.models import InstanceLabels, NodesFile
from agents.models.instance import Connectivity
from tests.factories import AgentTokenFactory
from tests.integration.agents.listed import make_node
from tests.integration.agents.registry import Registry

PATH = "/nodes.sd.json"
FACTS = {"ip": "10.0.0.1", "hostname": "h1", "user": "u1", "port": 8080}

pytestmark = pytest.mark.django_db


@pytest.fixture
def registry():
    return Registry()


def test_no_node_is_an_empty_list_in_json(registry):
    answer = registry.get(PATH)

    assert (answer.status_code, answer.content) == (200, b"[]")
    assert answer.headers["Content-Type"] == "application/json"


def test_list_has_online_nodes_with_their_labels(registry):
    listed = make_node(1, facts=FACTS, labels=["gpu"])
    InstanceLabels.objects.create(instance=listed.instance, effective={"team": "ours"})
    make_node(2, facts=FACTS, connectivity=Connectivity.OFFLINE)
    make_node(3, facts=FACTS, archived=True)

    (group,) = registry.get(PATH).json()

    assert group["targets"] == ["10.0.0.1:8080"]
    assert (
        group["labels"].items()
        >= {
            "__meta_argus_node_id": "A1",
            "__meta_argus_label_gpu": "",
            "__meta_argus_label_team": "ours",
            "__meta_argus_environment": listed.instance.service.environment,
        }.items()
    )
    assert all(isinstance(value, str) for value in group["labels"].values())


def test_port_of_the_scrape_counts_first(registry):
    make_node(1, facts=FACTS)

    assert registry.get(f"{PATH}?port=9100").json()[0]["targets"] == ["10.0.0.1:9100"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("port=http", "port must be a whole number from 1 to 65535."),
        ("port=", "port must be a whole number from 1 to 65535."),
        ("ports=1", "ports is no parameter of this list; the one that it has is port."),
        ("%00=1", "is no parameter of this list; the one that it has is port."),
    ],
)
def test_bad_query_is_400_and_named(registry, query, error):
    answer = registry.get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"].endswith(error)


def test_unchanged_list_is_304_and_a_changed_one_comes(registry):
    make_node(1, facts=FACTS)
    etag = registry.get(PATH).headers["ETag"]

    same = registry.get(PATH, **{"If-None-Match": etag})
    other_port = registry.get(f"{PATH}?port=1", **{"If-None-Match": etag})
    make_node(2, facts=FACTS)
    changed = registry.get(PATH, **{"If-None-Match": etag})

    assert (same.status_code, same.content) == (304, b"")
    assert (other_port.status_code, changed.status_code) == (200, 200)
    assert len(changed.json()) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_list_is_one_query(registry, count, django_assert_num_queries):
    for number in range(count):
        make_node(number, facts=FACTS)

    with django_assert_num_queries(1):
        assert len(registry.get(PATH).json()) == count


def test_with_tokens_only_nodes_of_the_token_s_environments_are_listed(settings):
    settings.AUTH_MODE = "token"
    mine, other = make_node(1, facts=FACTS), make_node(2, facts=FACTS)
    environment = mine.instance.service.environment
    other.instance.service.environment = f"not-{environment}"
    other.instance.service.save()
    AgentTokenFactory(secret="oat_narrow", environments=[environment])

    nobody = Registry().get(PATH)
    narrow = Registry(Authorization="Bearer oat_narrow").get(PATH)

    assert nobody.status_code == 401
    assert [group["labels"]["__meta_argus_node_id"] for group in narrow.json()] == ["A1"]


@pytest.mark.django_db(transaction=True)
def test_readyz_of_the_registry_tells_of_nodes_json_and_is_ready(registry, settings):
    settings.HOST = "0.0.0.0"
    NodesFile.objects.create(path="/p/nodes.json", failing_since=timezone.now(), error="/p/nodes.json: No space left")

    answer = registry.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    checks = answer.json()["checks"]
    assert checks["nodes_json"]["detail"] == "It cannot be written. /p/nodes.json: No space left"
    assert checks["registry_access"]["ready"] is False
