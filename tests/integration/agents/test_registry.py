"""The node registry, row by row of its contract."""

import json
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from agents.gateways.argus import views
from agents.models import Event, Instance, InstanceFacts, InstanceLabels, Node, NodeCounter, Service
from agents.selectors.facts import LISTED_MAX_BYTES
from agents.services.node_reports import StatusReport, record_reports
from controlplane.common.throttling import SenderThrottle
from tests.integration.agents.registry import BASE, HEALTH, META_DATA, TIMESTAMP, Registry, registration
from tests.integration.api_client import api_as

pytestmark = pytest.mark.django_db
NODE_KEYS = {
    "id", "name", "type", "version", "status", "meta_data", "config", "label", "health", "register_time",
    "last_updated", "last_report", "agent_last_report",
}  # fmt: skip


@pytest.fixture
def registry(client):
    return Registry(client)


def kinds():
    return list(Event.objects.order_by("id").values_list("kind", flat=True))


def moment(text):
    """A time of an answer, which is in UTC and ends in Z."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


# --- registering


def test_new_node_is_created_with_the_first_id(registry):
    before = timezone.now()

    response = registry.register()

    node = response.json()
    assert response.status_code == 201
    assert response["Content-Type"] == "application/json"
    assert set(node) == NODE_KEYS
    assert {key: node[key] for key in ("id", "name", "type", "version", "status", "meta_data")} == {
        "id": "A1", "name": "db-1", "type": "agent", "version": "1.2.3", "status": "initialized",
        "meta_data": META_DATA,
    }  # fmt: skip
    assert (node["config"], node["label"], node["health"]) == ({}, [], {})
    assert (node["last_report"], node["agent_last_report"]) == (None, None)
    assert node["register_time"] == node["last_updated"]
    assert before <= moment(node["register_time"]) <= timezone.now()


def test_new_node_is_an_instance_of_the_service_of_its_type_and_environment(registry):
    registry.registered()

    instance = Instance.objects.select_related("service").get()
    assert (instance.service.name, instance.service.environment) == ("agent", "prod")
    assert (instance.dialect, instance.external_id, instance.node_name) == ("argus", "A1", "db-1")
    assert (instance.hostname, instance.deployment_version, instance.agent_version) == (
        "db-1.example", "1.2.3", "1.2.3",
    )  # fmt: skip
    assert (instance.connectivity, instance.health) == ("never_reported", "unknown")
    event = Event.objects.get(kind="instance.registered")
    assert (event.instance_id, event.service_id, event.message) == (instance.pk, instance.service_id, "db-1")
    assert event.meta == {"node_id": "A1", "type": "agent", "version": "1.2.3", "address": "127.0.0.1"}


@pytest.mark.parametrize("meta_data", [{}, {"env": ""}], ids=["no-env", "empty-env"])
def test_node_without_an_environment_is_of_the_unknown_one(registry, meta_data):
    registry.registered(meta_data=meta_data)

    assert Service.objects.get().environment == "unknown"


def test_further_meta_data_is_kept_as_it_came(registry):
    odd = {"tags": ["a", {"b": None}], "ratio": 0.25, "name 名": True, "cpu_number": 0, "big": 2**62}

    assert registry.registered(meta_data=odd)["meta_data"] == odd
    assert registry.get("/nodes/A1").json()["meta_data"] == odd


@pytest.mark.parametrize("node_id", [..., None, ""], ids=["absent", "null", "empty"])
def test_known_name_without_an_id_is_the_same_node(registry, node_id):
    first = registry.registered()

    response = registry.register(version="2", id=node_id)

    assert response.status_code == 200
    assert (response.json()["id"], response.json()["version"]) == (first["id"], "2")
    assert Node.objects.count() == 1


def test_known_id_with_its_own_name_replaces_what_the_node_says_and_keeps_the_rest(registry):
    first = registry.registered()
    registry.configure("A1", config={"rate": 5}, label=["gpu"])
    registry.report("A1")

    response = registry.register(id="A1", type="worker", version="2", meta_data={"env": "dev", "cpu_number": 2})

    node = response.json()
    assert response.status_code == 200
    assert (node["type"], node["version"], node["meta_data"]) == ("worker", "2", {"env": "dev", "cpu_number": 2})
    assert (node["config"], node["label"], node["health"]) == ({"rate": 5}, ["gpu"], HEALTH)
    assert node["register_time"] == first["register_time"]
    assert moment(node["last_updated"]) > moment(first["last_updated"])
    assert (node["status"], node["agent_last_report"]) == ("online", TIMESTAMP)
    instance = Instance.objects.select_related("service").get()
    assert (instance.service.name, instance.service.environment) == ("worker", "dev")
    assert Service.objects.count() == 2


def test_registering_again_with_news_is_an_event_and_without_is_none(registry):
    registry.registered()

    registry.register(id="A1")
    registry.register(id="A1", version="2")

    assert kinds() == ["instance.registered"] * 2
    assert Event.objects.order_by("id").last().meta == {
        "node_id": "A1",
        "again": True,
        "before": {"version": "1.2.3"},
        "after": {"version": "2"},
        "meta_data_changed": False,
        "address": "127.0.0.1",
    }


def test_unknown_id_is_404(registry):
    response = registry.register(id="A9")

    assert response.status_code == 404
    assert response.json()["error"].startswith("id: no node has the id 'A9'")
    assert Node.objects.count() == 0


def test_id_of_another_name_is_500_and_says_so(registry):
    registry.registered("db-1")

    response = registry.register("db-2", id="A1")

    assert response.status_code == 500
    assert response.json() == {"error": "id: 'A1' belongs to the node 'db-1', not to 'db-2'."}
    assert Node.objects.count() == 1


def test_ids_count_up_and_are_never_given_again(registry):
    registry.registered("a")
    registry.registered("b")
    Instance.objects.get(external_id="A2").delete()

    assert registry.registered("b")["id"] == "A3"
    Instance.objects.all().delete()
    assert registry.registered("c")["id"] == "A4"


def test_counter_that_is_lost_goes_on_behind_the_highest_number(registry):
    registry.registered("a")
    NodeCounter.objects.all().delete()

    assert registry.registered("b")["id"] == "A2"


def test_another_prefix_is_for_new_nodes_only(registry, settings):
    registry.registered("a")
    settings.NODE_ID_PREFIX = "node-"

    assert registry.registered("b")["id"] == "node-2"
    assert registry.register("a", id="A1").json()["id"] == "A1"
    assert [node["id"] for node in registry.get("/nodes").json()] == ["A1", "node-2"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ...}, "name must be given."),
        ({"type": ...}, "type must be given."),
        ({"version": ...}, "version must be given."),
        ({"meta_data": ...}, "meta_data must be given."),
        ({"name": 5}, "name must be a string."),
        ({"name": None}, "name must be a string."),
        ({"name": ""}, "name must have 1 to 255 characters, not all of them blank."),
        ({"name": "x" * 256}, "name must have 1 to 255 characters, not all of them blank."),
        ({"name": "a\x00b"}, "name must hold no NUL and no unpaired surrogate."),
        ({"name": "a\ud800b"}, "name must hold no NUL and no unpaired surrogate."),
        ({"type": ["agent"]}, "type must be a string."),
        ({"version": 1.2}, "version must be a string."),
        ({"id": 7}, "id must be a string."),
        ({"meta_data": []}, "meta_data must be an object."),
        ({"meta_data": None}, "meta_data must be an object."),
        ({"meta_data": {"hostname": 5}}, "meta_data.hostname must be a string."),
        ({"meta_data": {"ip": None}}, "meta_data.ip must be a string."),
        ({"meta_data": {"env": {}}}, "meta_data.env must be a string."),
        ({"meta_data": {"env": "x" * 65}}, "meta_data.env must have 64 characters at most."),
        ({"meta_data": {"user": 1}}, "meta_data.user must be a string."),
        ({"meta_data": {"instance": []}}, "meta_data.instance must be a string."),
        ({"meta_data": {"cpu_number": "8"}}, "meta_data.cpu_number must be a whole number of at least 0."),
        ({"meta_data": {"cpu_number": True}}, "meta_data.cpu_number must be a whole number of at least 0."),
        ({"meta_data": {"cpu_number": 8.0}}, "meta_data.cpu_number must be a whole number of at least 0."),
        ({"meta_data": {"gpu_number": -1}}, "meta_data.gpu_number must be a whole number of at least 0."),
        ({"meta_data": {"memory_in_bytes": None}}, "meta_data.memory_in_bytes must be a whole number of at least 0."),
        ({"meta_data": {"memory_in_bytes": 2**63}}, "meta_data.memory_in_bytes must be a number of 64 bit."),
        ({"meta_data": {"deep": [{"x": "\x00"}]}}, "meta_data.deep[0].x must hold no NUL and no unpaired surrogate."),
        ({"meta_data": {"\ud800": 1}}, "meta_data must have keys without NUL and without unpaired surrogates."),
    ],
)  # fmt: skip
def test_bad_registration_is_400_and_names_the_field(registry, changes, sentence):
    response = registry.register(**changes)

    assert (response.status_code, response.json()) == (400, {"error": sentence})
    assert Node.objects.count() == 0


def nested(levels):
    return b'{"name": "n", "type": "t", "version": "1", "meta_data": ' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


@pytest.mark.parametrize(
    ("raw", "begins"),
    [
        (b"", "The body must be JSON; at line 1, column 1:"),
        (b"{", "The body must be JSON; at line 1, column 2:"),
        (b"[]", "The body must be a JSON object."),
        (b'"text"', "The body must be a JSON object."),
        (b"null", "The body must be a JSON object."),
        (b"\xff\xfe", "The body must be UTF-8; its byte 0 is not."),
        (b"\xef\xbb\xbf{}", "The body must be JSON;"),
        (b'{"name": NaN}', "The body must be JSON, which has no NaN."),
        (b'{"a": 1e999}', "a must be a number that a double can hold."),
        (b'{"a": %s}' % (b"9" * 5000), "The body must be JSON without numbers of thousands of digits."),
        (b'{"a": %s}' % (b"9" * 30), "a must be a number of 64 bit."),
        (b"[" * 500_000, "The body must not nest deeper than 64 levels."),
        (nested(100), "meta_data.a.a.a"),
    ],
    ids=["empty", "cut", "list", "text", "null", "no-utf8", "bom", "nan", "inf", "digits", "wide", "deep", "deeper"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["POST /nodes", "PUT /nodes/A1/status", "PUT /nodes/A1/config"])
def test_body_that_is_no_good_json_is_400(registry, raw, begins, path):
    registry.registered()
    verb, _, url = path.partition(" ")

    response = registry.call(verb, url, raw)

    assert response.status_code == 400
    assert response.json()["error"].startswith(begins)


def test_of_a_key_that_comes_twice_the_last_counts(registry):
    raw = json.dumps(registration()).encode().replace(b'"version"', b'"name": "last", "version"')

    assert registry.call("POST", "/nodes", raw).json()["name"] == "last"


def test_unknown_fields_of_a_body_are_passed_over(registry):
    assert registry.register(status="online", colour="red").status_code == 201


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_body_is_json_whatever_it_is_called(client, content_type):
    response = client.generic("POST", f"{BASE}/nodes", json.dumps(registration()), content_type=content_type)

    assert response.status_code == 201


@pytest.mark.parametrize("path", ["POST /nodes", "PUT /nodes/A1/status", "PUT /nodes/A1/config"])
def test_body_over_one_mebibyte_is_413_and_one_of_it_is_read(registry, path):
    registry.registered()
    verb, _, url = path.partition(" ")
    body = json.dumps(registration("db-2") | {"timestamp": TIMESTAMP, "health": {}, "label": []}).encode()

    exact = registry.call(verb, url, body.ljust(1024 * 1024))
    larger = registry.call(verb, url, body.ljust(1024 * 1024 + 1))

    assert exact.status_code in {200, 201}
    assert (larger.status_code, larger.json()) == (413, {"error": "The body must have 1048576 bytes at most."})


# --- reading


def test_no_nodes_are_an_empty_array(registry):
    response = registry.get("/nodes")

    assert (response.status_code, response.json()) == (200, [])


def test_list_is_ordered_by_the_number_and_has_five_fields(registry):
    names = [f"n{number}" for number in range(11)]
    for name in names:
        registry.registered(name)
    registry.report("A10")

    listed = registry.get("/nodes").json()

    assert [node["id"] for node in listed] == [f"A{number}" for number in range(1, 12)]
    assert listed[9] == {"id": "A10", "name": "n9", "status": "online", "type": "agent", "version": "1.2.3"}


@pytest.mark.parametrize("count", [1, 3])
def test_reads_cost_one_query_each(registry, django_assert_num_queries, count):
    for number in range(count):
        registry.registered(f"n{number}")

    for path in ("/nodes", "/nodes/A1", "/nodes/statistics"):
        with django_assert_num_queries(1):
            assert registry.get(path).status_code == 200


def test_one_node_is_answered_as_when_it_was_written(registry):
    written = registry.registered()

    assert registry.get("/nodes/A1").json() == written


@pytest.mark.parametrize("node_id", ["A9", "a1", "1", "%00", "x" * 300, "%ED%A0%80", "A1%20"])
@pytest.mark.parametrize(
    ("verb", "rest", "body"),
    [("GET", "", None), ("PUT", "/status", {"timestamp": TIMESTAMP, "health": {}}), ("PUT", "/config", {"label": []})],
    ids=["get", "status", "config"],
)
def test_unknown_node_is_404(registry, node_id, verb, rest, body):
    registry.registered()

    response = registry.call(verb, f"/nodes/{node_id}{rest}", body)

    assert response.status_code == 404
    assert response.json()["error"].startswith("id: no node has the id ")


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/nodes/", "/nodes/A1/", "/nodes/A1/other", "/nodes/A/status/x"])
@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_unknown_path_is_404(registry, path, verb):
    response = registry.call(verb, path)

    assert response.status_code == 404
    assert response.json() == {"error": "The path must be one of the registry's; this one is not known."}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/nodes", "GET, POST, HEAD"),
        ("/nodes/statistics", "GET, HEAD"),
        ("/nodes/A1", "GET, HEAD"),
        ("/nodes/A1/status", "PUT"),
        ("/nodes/A1/config", "PUT"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
    ],
)
def test_wrong_method_is_405_and_names_the_right_ones(registry, path, allowed):
    for verb in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - set(allowed.split(", ")):
        response = registry.call(verb, path)
        assert (response.status_code, response["Allow"]) == (405, allowed)
        assert response.json()["error"].startswith("The method must be ")


def test_statistics_have_only_statuses_that_some_node_has(registry):
    assert registry.get("/nodes/statistics").json() == {"total": 0, "status_statistics": []}
    for name in ("a", "b", "c"):
        registry.registered(name)
    registry.report("A2")

    assert registry.get("/nodes/statistics").json() == {
        "total": 3,
        "status_statistics": [{"status": "initialized", "count": 2}, {"status": "online", "count": 1}],
    }


# --- reports


def test_report_makes_the_node_online_and_replaces_its_health(registry):
    registry.registered()
    registry.report("A1", health={"old": {"status": "ok"}})
    before = timezone.now()

    response = registry.report("A1")

    node = response.json()
    assert response.status_code == 200
    assert set(node) == NODE_KEYS
    assert (node["status"], node["health"], node["agent_last_report"]) == ("online", HEALTH, TIMESTAMP)
    assert before <= moment(node["last_report"]) <= timezone.now()
    assert node["last_updated"] == node["last_report"]
    assert node == registry.get("/nodes/A1").json()


@pytest.mark.parametrize(
    ("timestamp", "kept"),
    [
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05Z"),
        ("2026-01-02t03:04:05z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02 03:04:05.5", "2026-01-02T03:04:05.500000Z"),
    ],
)
def test_timestamp_is_kept_in_utc(registry, timestamp, kept):
    registry.registered()

    assert registry.report("A1", timestamp=timestamp).json()["agent_last_report"] == kept


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"health": {}}, "timestamp must be given."),
        ({"timestamp": TIMESTAMP}, "health must be given."),
        ({"timestamp": "soon", "health": {}}, "timestamp must be a time as RFC 3339 has it"),
        ({"timestamp": "", "health": {}}, "timestamp must be a time as RFC 3339 has it"),
        ({"timestamp": "2026-01-02", "health": {}}, "timestamp must be a time as RFC 3339 has it"),
        ({"timestamp": 1767323045, "health": {}}, "timestamp must be a time as RFC 3339 has it"),
        ({"timestamp": None, "health": {}}, "timestamp must be a time as RFC 3339 has it"),
        ({"timestamp": "2026-02-30T00:00:00Z", "health": {}}, "timestamp must be a time that exists."),
        ({"timestamp": "2026-01-02T03:04:05+99:00", "health": {}}, "timestamp must be a time that exists."),
        ({"timestamp": "0001-01-01T00:00:00+14:00", "health": {}}, "timestamp must be a time after the year 1"),
        ({"timestamp": "9999-12-31T23:59:59-14:00", "health": {}}, "timestamp must be a time after the year 1"),
        ({"timestamp": TIMESTAMP, "health": []}, "health must be an object."),
        ({"timestamp": TIMESTAMP, "health": None}, "health must be an object."),
        ({"timestamp": TIMESTAMP, "health": "ok"}, "health must be an object."),
        ({"timestamp": TIMESTAMP, "health": {"disk": "ok"}}, "health.disk must be an object."),
        ({"timestamp": TIMESTAMP, "health": {"disk": {}}}, "health.disk.status must be given, as a string."),
        ({"timestamp": TIMESTAMP, "health": {"disk": {"status": 1}}}, "health.disk.status must be given, as a string."),
    ],
)  # fmt: skip
def test_bad_report_is_400_names_the_field_and_changes_nothing(registry, body, begins):
    node = registry.registered()

    response = registry.call("PUT", "/nodes/A1/status", body)

    assert response.status_code == 400
    assert response.json()["error"].startswith(begins)
    assert registry.get("/nodes/A1").json() == node


def test_last_report_wins_whatever_time_it_gives_itself(registry):
    registry.registered()
    registry.report("A1", timestamp="2026-01-02T03:04:05Z", health={"new": {"status": "ok"}})

    node = registry.report("A1", timestamp="2025-01-02T03:04:05Z", health={"late": {"status": "ok"}}).json()

    assert (node["agent_last_report"], node["health"]) == ("2025-01-02T03:04:05Z", {"late": {"status": "ok"}})


def test_report_that_comes_twice_changes_nothing_but_its_time(registry):
    registry.registered()
    first = registry.report("A1").json()

    second = registry.report("A1").json()

    told = {"last_report", "last_updated"}
    assert {key: value for key, value in second.items() if key not in told} == {
        key: value for key, value in first.items() if key not in told
    }
    assert kinds() == ["instance.registered", "instance.online"]


def test_large_meta_data_come_back_whole_though_no_batch_reads_them(registry):
    node = registry.registered(meta_data={"ballast": "x" * LISTED_MAX_BYTES})
    registry.report(node["id"])
    small = registry.registered("db-2")
    registry.report(small["id"])

    answers = record_reports([_report(node["id"]), _report(small["id"])])

    assert [answer.meta_data for answer in answers] == [None, META_DATA]
    assert registry.report(node["id"]).json()["meta_data"] == {"ballast": "x" * LISTED_MAX_BYTES}


def _report(node_id):
    return StatusReport(node_id=node_id, reported_at=timezone.now(), health=HEALTH)


def test_going_online_is_an_event_with_old_new_and_reason(registry):
    registry.registered()

    registry.report("A1")
    Instance.objects.update(connectivity="offline", last_seen_at=timezone.now() - timedelta(seconds=420))
    registry.report("A1")

    metas = list(Event.objects.filter(kind="instance.online").order_by("id").values_list("meta", flat=True))
    assert metas == [
        {"old": "never_reported", "new": "online", "reason": "Its first status report came."},
        {"old": "offline", "new": "online", "reason": "A status report came after 420 s of silence."},
    ]


def test_report_is_one_read_and_one_update_while_nothing_changes(registry, django_assert_num_queries):
    registry.registered()
    registry.report("A1")

    # And the two ends of the transaction.
    with django_assert_num_queries(4):
        registry.report("A1", timestamp="2026-01-02T03:05:05Z")


@pytest.mark.parametrize(
    ("statuses", "health"),
    [
        ([], "unknown"),
        (["ok", "Healthy", " UP "], "ok"),
        (["ok", "warning"], "degraded"),
        (["ok", "failed"], "degraded"),
        (["down", "error"], "error"),
        (["error", "warning"], "degraded"),
        (["ok", "wobbly"], "unknown"),
        (["failed", "wobbly"], "degraded"),
    ],
)
def test_health_of_the_instance_is_made_of_its_components(registry, statuses, health):
    registry.registered()

    registry.report("A1", health={f"c{number}": {"status": status} for number, status in enumerate(statuses)})

    assert Instance.objects.get().health == health


def test_change_of_a_component_is_an_event_that_names_it(registry):
    registry.registered()
    registry.report("A1")

    registry.report("A1", health={"disk": {"status": "failed"}, "net": {"status": "ok"}})
    registry.report("A1", health={"disk": {"status": "failed", "used": 1}, "net": {"status": "ok"}})
    registry.report("A1", health={"net": {"status": "ok"}})

    events = Event.objects.filter(kind="instance.health_changed").order_by("id")
    assert list(events.values_list("level", "message", "meta")) == [
        ("warn", "disk", {"old": "ok", "new": "degraded", "components": {"disk": {"old": "ok", "new": "failed"}}}),
        ("info", "disk", {"old": "degraded", "new": "ok", "components": {"disk": {"old": "failed", "new": None}}}),
    ]


def test_true_and_one_are_told_apart(registry):
    registry.registered()
    registry.report("A1", health={"disk": {"status": "ok", "full": 1}})

    registry.report("A1", health={"disk": {"status": "ok", "full": True}})

    assert registry.get("/nodes/A1").json()["health"]["disk"]["full"] is True


# --- what operators set


def test_config_and_label_replace_theirs_and_what_is_absent_stays(registry):
    registry.registered()

    both = registry.configure("A1", config={"rate": 5, "old": 1}, label=["gpu", "team=x"])
    config_only = registry.configure("A1", config={"rate": 6})
    label_only = registry.configure("A1", label=[])

    assert [answer.status_code for answer in (both, config_only, label_only)] == [200, 200, 200]
    assert set(both.json()) == NODE_KEYS
    assert [(each.json()["config"], each.json()["label"]) for each in (both, config_only, label_only)] == [
        ({"rate": 5, "old": 1}, ["gpu", "team=x"]),
        ({"rate": 6}, ["gpu", "team=x"]),
        ({"rate": 6}, []),
    ]
    assert label_only.json()["last_report"] is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "config or label must be given."),
        ({"labels": []}, "config or label must be given."),
        ({"config": None}, "config must be an object."),
        ({"config": []}, "config must be an object."),
        ({"config": "x"}, "config must be an object."),
        ({"label": None}, "label must be an array of strings."),
        ({"label": "gpu"}, "label must be an array of strings."),
        ({"label": {"gpu": True}}, "label must be an array of strings."),
        ({"label": ["gpu", 1]}, "label[1] must be a string."),
        ({"label": [""]}, "label[0] must have 1 to 255 characters."),
        ({"label": ["x" * 256]}, "label[0] must have 1 to 255 characters."),
        ({"label": ["x"] * 201}, "label must hold 200 strings at most."),
        ({"config": {"a": {"b": "\x00"}}}, "config.a.b must hold no NUL and no unpaired surrogate."),
        ({"config": {"good": 1}, "label": 5}, "label must be an array of strings."),
    ],
)
def test_bad_config_is_400_names_the_field_and_changes_nothing(registry, body, sentence):
    registry.registered()

    response = registry.configure("A1", **body)

    assert (response.status_code, response.json()) == (400, {"error": sentence})
    assert registry.get("/nodes/A1").json()["config"] == {}


def test_change_of_config_is_told_with_before_and_after_as_of_the_instance(registry):
    registry.registered()
    registry.configure("A1", config={"rate": 5})
    registry.configure("A1", config={"rate": 6}, label=["gpu"])
    registry.configure("A1", config={"rate": 6})

    changes = Event.objects.filter(kind="object.changed").order_by("id")
    subject = f"agents.instance:{Instance.objects.get().pk}"
    assert list(changes.values_list("subject", "actor")) == [(subject, ""), (subject, "")]
    assert changes[1].meta == {
        "address": "127.0.0.1",
        "via": "api",
        "before": {"config": {"rate": 5}, "label": []},
        "after": {"config": {"rate": 6}, "label": ["gpu"]},
    }


# --- storing


def test_meta_data_are_the_facts_of_the_instance(registry):
    registry.registered()

    assert InstanceFacts.objects.get().facts == META_DATA


def test_single_values_of_meta_data_are_labels_of_the_agent_and_tags_come_over_them(registry):
    registry.registered(meta_data={"env": "prod", "cpu_number": 8, "spot": True, "load": 0.5, "list": [1], "no": None})
    registry.configure("A1", label=["gpu", "env=own", "not a key"])

    labels = InstanceLabels.objects.get()
    assert labels.agent == {"env": "prod", "cpu_number": "8", "spot": "true", "load": "0.5"}
    assert labels.effective == {**labels.agent, "gpu": "", "env": "own"}
    left_out = api_as("viewer").get(f"instances/{labels.pk}/labels").json()["left_out"]
    assert list(left_out) == ["not a key"]
    assert "cannot be the key of a label" in left_out["not a key"]
    registry.register(meta_data={})
    registry.configure("A1", label=[])
    labels.refresh_from_db()
    assert labels.effective == {}


def test_whoever_registers_again_comes_out_of_the_archive(registry):
    registry.registered()
    registry.registered("other")
    Instance.objects.filter(external_id="A1").update(archived_at=timezone.now())
    assert [node["id"] for node in registry.get("/nodes").json()] == ["A2"]
    assert registry.get("/nodes/statistics").json()["total"] == 1
    assert registry.get("/nodes/A1").status_code == 200

    registry.register(id="A1")

    assert [node["id"] for node in registry.get("/nodes").json()] == ["A1", "A2"]


def test_a_changed_password_of_a_config_is_withheld_from_history(registry):
    registry.register()
    registry.configure("A1", config={"password": "hunter2"})
    registry.configure("A1", config={"password": "hunter3"})

    first, second = Event.objects.filter(kind="object.changed").order_by("id").values_list("meta", flat=True)

    assert "hunter" not in json.dumps([first, second])
    assert (first["withheld"], second["withheld"]) == (["config.password"], ["config.password"])


# --- bounds


def test_beyond_nodes_max_new_nodes_are_refused_and_known_ones_are_not(registry, settings, monkeypatch):
    monkeypatch.setattr(views, "_full_told", SenderThrottle(per_s=1 / 3600, burst=1, senders_max=1))
    settings.NODES_MAX = 2
    registry.registered("a")
    registry.registered("b")

    refused = [registry.register(name) for name in ("c", "d")]

    assert [response.status_code for response in refused] == [400, 400]
    assert "NODES_MAX" in refused[0].json()["error"]
    assert "Retry-After" not in refused[0]
    assert Event.objects.filter(kind="agent.refused", message__contains="NODES_MAX").count() == 1
    assert (registry.register("a", version="2").status_code, Node.objects.count()) == (200, 2)
    Instance.objects.filter(node__name="b").delete()
    registry.registered("c")


def test_made_up_tokens_fill_no_history(registry, settings, monkeypatch):
    settings.AUTH_MODE = "token"
    monkeypatch.setattr(views, "_refused", SenderThrottle(per_s=1 / 60, burst=1, senders_max=5))
    monkeypatch.setattr(views, "_refused_peers", SenderThrottle(per_s=1 / 60, burst=3, senders_max=10))
    monkeypatch.setattr(views, "_refused_in_all", SenderThrottle(per_s=1 / 60, burst=5, senders_max=1))

    def show(number, address):
        return registry.client.post(
            "/api/v1/master/nodes",
            {},
            content_type="application/json",
            headers={"Authorization": f"Bearer oat_{number:05d}xyz"},
            REMOTE_ADDR=address,
        )

    assert {show(number, "10.0.0.1").status_code for number in range(8)} == {401}
    assert Event.objects.filter(kind="agent.refused").count() == 3
    for number in range(8):
        show(number, f"10.0.1.{number}")
    assert Event.objects.filter(kind="agent.refused").count() == 5


def test_one_address_registers_so_often_and_others_meanwhile(registry, monkeypatch):
    throttle = SenderThrottle(per_s=1, burst=2, senders_max=10, clock=lambda: 0.0)
    monkeypatch.setattr(views, "_registrations", throttle)

    def register_from(address, name):
        return registry.client.post(
            f"{BASE}/nodes", registration(name), content_type="application/json", REMOTE_ADDR=address
        )

    statuses = [register_from("10.0.0.1", name).status_code for name in ("a", "b", "a")]
    refused = register_from("10.0.0.1", "c")

    assert statuses == [201, 201, 429]
    assert 1 <= int(refused["Retry-After"]) <= 4
    assert "address" in refused.json()["error"]
    assert register_from("10.0.0.2", "c").status_code == 201
    # A host has a whole network of IPv6.
    found = [register_from(f"2001:db8::{number}", f"v6-{number}").status_code for number in (1, 2, 3)]
    assert found == [201, 201, 429]
