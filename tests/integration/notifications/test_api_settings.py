"""The settings API of the reference control plane: channels, each with a rule of its own (contract 7.1)."""

import ipaddress

import pytest
from cryptography.fernet import Fernet

from agents.models import Event
from notifications.models import Channel, Delivery, Rule
from notifications.selectors.targets import target_of
from tests.factories import ChannelFactory, DeliveryFactory, RuleFactory, ServiceFactory
from tests.integration.api_client import api_as
from tests.integration.notifications.sink import sink

pytestmark = pytest.mark.django_db

CHANNELS = "settings/notifications/channels"
URL = "https://open.feishu.cn/open-apis/bot/v2/hook/0123456789abcdef"
FEISHU = {"name": "on call", "provider": "feishu", "webhook_url": URL}
CONFIG = {"method": "post", "body_params": [{"key": "text", "value": "{{ task_name }}"}]}
CUSTOM = {"name": "hook", "provider": "custom", "webhook_url": "https://hooks.example.com/x", "custom_config": CONFIG}
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SCOPES = [{"name": "billing", "environment": "prod"}]


@pytest.fixture
def api():
    return api_as("operator")


def delete(api, path):
    return api.client.delete(f"/api/v1/{path}", headers=api.headers)


def problems(response):
    assert response.status_code == 422, response.content
    return [(problem["type"], problem["loc"]) for problem in response.json()["detail"]]


def made(api, **fields):
    response = api.post(CHANNELS, FEISHU | fields)
    assert response.status_code == 201, response.content
    return response.json()


def test_a_channel_is_answered_as_the_contract_has_it_and_never_with_its_address(api):
    body = made(api, event_types=["task_failed"], service_scopes=SCOPES)

    assert {name: value for name, value in body.items() if name not in {"id", "created_at", "updated_at"}} == {
        "name": "on call",
        "provider": "feishu",
        "webhook_url_masked": "https://open.feishu.cn/...cdef",
        "enabled": True,
        "service_scopes": SCOPES,
        "event_types": ["task_failed"],
        "missed_start_grace_seconds": 300,
        "custom_config": None,
    }
    assert api.get(CHANNELS).json() == {"items": [body]}
    assert URL not in api.get(CHANNELS).content.decode()
    assert URL not in Channel.objects.get().address


def test_event_types_and_scopes_become_a_rule_of_the_channel_s_own(api):
    body = made(api, event_types=["task_failed"], service_scopes=SCOPES)

    rule = Rule.objects.get()
    assert (rule.own_of_id, list(rule.channels.values_list("pk", flat=True))) == (body["id"], [body["id"]])
    assert (rule.event_types, rule.service_scopes) == (["task_failed"], SCOPES)
    assert (rule.group_by, rule.wait_s, rule.tells_resolved) == ("event", 0, False)


def test_a_rule_of_the_same_name_is_no_obstacle(api):
    RuleFactory(name="on call")

    made(api)

    assert sorted(Rule.objects.values_list("name", flat=True)) == ["on call", "on call (2)"]


def test_a_name_is_taken_once(api):
    made(api)
    other = ChannelFactory(name="other")

    answers = [api.post(CHANNELS, FEISHU), api.patch(f"{CHANNELS}/{other.pk}", {"name": "on call"})]

    assert [(each.status_code, each.json()) for each in answers] == [
        (409, {"detail": "notification channel name already exists"})
    ] * 2
    assert (Channel.objects.count(), Rule.objects.count()) == (2, 1)


def test_custom_config_has_its_method_in_capitals_and_its_defaults(api):
    body = api.post(CHANNELS, CUSTOM).json()

    assert body["custom_config"] == {
        "method": "POST",
        "query_params": [],
        "body_params": [{"key": "text", "value": "{{ task_name }}"}],
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": ""}, ("string_too_short", ["body", "name"])),
        ({"name": "x" * 256}, ("string_too_long", ["body", "name"])),
        ({"provider": "email"}, ("enum", ["body", "provider"])),
        ({"webhook_url": ""}, ("string_too_short", ["body", "webhook_url"])),
        ({"enabled": "yes"}, ("bool_type", ["body", "enabled"])),
        ({"event_types": ["task_exploded"]}, ("enum", ["body", "event_types", 0])),
        ({"event_types": ["task_failed"] * 2}, ("unique", ["body", "event_types"])),
        ({"service_scopes": SCOPES * 2}, ("unique", ["body", "service_scopes"])),
        ({"service_scopes": [{"name": "billing"}]}, ("missing", ["body", "service_scopes", 0, "environment"])),
        ({"missed_start_grace_seconds": 0}, ("greater_than_equal", ["body", "missed_start_grace_seconds"])),
        ({"missed_start_grace_seconds": 86401}, ("less_than_equal", ["body", "missed_start_grace_seconds"])),
        ({"missed_start_grace_seconds": 60}, ("value_error", ["body", "missed_start_grace_seconds"])),
        ({"custom_config": CONFIG}, ("value_error", ["body", "custom_config"])),
        ({"provider": "custom"}, ("missing", ["body", "custom_config"])),
        ({"colour": "red"}, ("extra_forbidden", ["body", "colour"])),
    ],
)
def test_a_channel_that_cannot_be_is_refused(api, change, problem):
    assert problems(api.post(CHANNELS, FEISHU | change)) == [problem]
    assert (Channel.objects.count(), Rule.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"method": "PUT"}, ["method"]),
        ({"method": "get", "body_params": [{"key": "a", "value": "b"}]}, ["body_params"]),
        ({"query_params": [{"key": "a", "value": "b"}, {"key": "a", "value": "c"}]}, ["query_params"]),
        ({"query_params": [{"key": "", "value": "b"}]}, ["query_params", 0, "key"]),
        ({"query_params": [{"key": "a", "value": "x" * 2001}]}, ["query_params", 0, "value"]),
        ({"body_params": [{"key": "a", "value": "{{ nonsense }}"}]}, ["body_params", "0", "value"]),
    ],
)
def test_a_custom_config_that_cannot_be_is_refused(api, config, place):
    (told,) = problems(api.post(CHANNELS, CUSTOM | {"custom_config": config}))

    assert told[1] == ["body", "custom_config", *place]
    assert Channel.objects.count() == 0


def test_a_change_keeps_what_it_leaves_out(api):
    channel = made(api, event_types=["task_failed"], service_scopes=SCOPES)
    secret = target_of(Channel.objects.get()).address

    changed = api.patch(f"{CHANNELS}/{channel['id']}", {"event_types": ["task_missed_start"], "name": "night"})

    assert changed.status_code == 200
    assert {**changed.json(), "updated_at": ""} == {
        **channel,
        "name": "night",
        "event_types": ["task_missed_start"],
        "updated_at": "",
    }
    assert target_of(Channel.objects.get()).address == secret
    assert Rule.objects.get().name == "night"


def test_a_change_is_judged_together_with_what_stays(api):
    plain, hook = made(api), api.post(CHANNELS, CUSTOM).json()
    of_plain, of_hook = f"{CHANNELS}/{plain['id']}", f"{CHANNELS}/{hook['id']}"

    assert problems(api.patch(of_plain, {})) == [("value_error", ["body"])]
    assert problems(api.patch(of_plain, {"provider": "custom"})) == [("missing", ["body", "custom_config"])]
    assert problems(api.patch(of_hook, {"custom_config": None})) == [("missing", ["body", "custom_config"])]
    assert problems(api.patch(of_plain, {"missed_start_grace_seconds": 60}))[0][1][-1] == "missed_start_grace_seconds"
    both = {"missed_start_grace_seconds": 60, "event_types": ["task_missed_start"]}
    assert api.patch(of_plain, both).json()["missed_start_grace_seconds"] == 60
    assert api.patch(of_hook, {"provider": "feishu"}).json()["custom_config"] is None


def test_what_a_channel_has_beyond_the_contract_is_kept(api):
    channel = ChannelFactory(options={"method": "POST", "body_template": '{"a": 1}'}, language="zh-hans")

    body = api.patch(
        f"{CHANNELS}/{channel.pk}", {"custom_config": {"query_params": [{"key": "k", "value": "v"}]}}
    ).json()

    channel.refresh_from_db()
    assert (len(body["custom_config"]["query_params"]), channel.options["body_template"]) == (1, '{"a": 1}')
    assert channel.language == "zh-hans"


def test_channels_of_other_providers_are_listed_too(api):
    ChannelFactory(provider="email", options={})

    (item,) = api.get(CHANNELS).json()["items"]

    assert (item["provider"], item["event_types"], item["custom_config"]) == ("email", [], None)


def test_a_channel_is_turned_off_and_on(api):
    channel = made(api)

    off = api.patch(f"{CHANNELS}/{channel['id']}/enabled", {"enabled": False})

    assert (off.status_code, off.json()["enabled"]) == (200, False)
    assert problems(api.patch(f"{CHANNELS}/{channel['id']}/enabled", {})) == [("missing", ["body", "enabled"])]


def test_a_deleted_channel_takes_its_rule_along_and_leaves_what_is_queued(api):
    channel = Channel.objects.get(pk=made(api)["id"])
    queued = DeliveryFactory(channel=channel)

    gone = delete(api, f"{CHANNELS}/{channel.pk}")

    queued.refresh_from_db()
    assert (gone.status_code, gone.json()) == (200, {"status": "deleted"})
    assert (Channel.objects.count(), Rule.objects.count(), queued.channel_id) == (0, 0, None)
    assert queued.target != ""
    assert URL not in queued.target


def test_a_test_is_really_sent_and_the_answer_told(api, settings):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    with sink() as far:
        channel = ChannelFactory(url=far.url, provider="feishu", options={})
        good = api.post(f"{CHANNELS}/{channel.pk}/test", {"message": "Does this arrive?"}).json()
        far.answer = (200, {"code": 19021, "msg": "sign match fail"})
        bad = api.post(f"{CHANNELS}/{channel.pk}/test").json()

    assert len(far.bodies) == 2
    assert "Does this arrive?" in str(far.bodies[0])
    assert (good["status"], good["channel_id"], good["provider"], good["delivered"]) == (
        "accepted",
        channel.pk,
        "feishu",
        True,
    )
    assert "Does this arrive?" in good["preview_text"]
    assert (bad["delivered"], bad["status_code"], bad["provider_code"]) == (False, 200, "19021")
    assert "sign match fail" in bad["error"]
    assert sorted(Delivery.objects.values_list("kind", "status")) == [("test", "delivered"), ("test", "failed")]


def test_a_test_that_the_budget_has_no_room_for_is_refused_and_sent_nowhere(api, settings):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    with sink() as far:
        channel = ChannelFactory(url=far.url, provider="feishu", options={}, per_minute=1)
        answers = [api.post(f"{CHANNELS}/{channel.pk}/test") for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 429]
    assert 0 < int(answers[1]["Retry-After"]) <= 60
    assert "second" in answers[1].json()["detail"]
    assert (len(far.bodies), Delivery.objects.count()) == (1, 1)


def test_a_channel_whose_key_is_gone_is_listed_and_conflicts(api, settings):
    channel = ChannelFactory()
    settings.NOTIFY_SECRET_KEYS = (Fernet.generate_key().decode(),)

    path = f"{CHANNELS}/{channel.pk}"

    assert [item["id"] for item in api.get(CHANNELS).json()["items"]] == [channel.pk]
    assert api.post(f"{path}/test").status_code == 409
    assert api.patch(path, {"name": "night"}).status_code == 200
    assert problems(api.patch(path, {"custom_config": CONFIG})) == [("value_error", ["body", "webhook_url"])]
    assert api.patch(path, {"webhook_url": URL, "custom_config": CONFIG}).status_code == 200


def test_a_message_of_a_test_has_its_limit(api):
    channel = ChannelFactory()

    assert problems(api.post(f"{CHANNELS}/{channel.pk}/test", {"message": "x" * 2001})) == [
        ("string_too_long", ["body", "message"])
    ]


def test_services_are_offered_by_environment_and_name(api):
    for environment, name in (("prod", "b"), ("dev", "z"), ("prod", "a")):
        ServiceFactory(environment=environment, name=name)

    assert api.get("settings/notifications/services").json() == {
        "items": [
            {"name": "z", "environment": "dev"},
            {"name": "a", "environment": "prod"},
            {"name": "b", "environment": "prod"},
        ]
    }


@pytest.mark.parametrize("rest", ["", "/enabled", "/test"])
def test_a_channel_that_is_not_there_is_not_found(api, rest):
    body = {"enabled": True} if rest == "/enabled" else {"name": "x"} if not rest else {}
    call = api.post if rest == "/test" else api.patch

    answer = call(f"{CHANNELS}/999999999{rest}", body)

    assert (answer.status_code, answer.json()) == (404, {"detail": "notification channel 999999999 was not found"})
    assert delete(api, f"{CHANNELS}/999999999").status_code == 404
    assert delete(api, f"{CHANNELS}/ghost").status_code == 422


def test_viewers_read_and_change_nothing(api):
    channel = made(api)
    viewer = api_as("viewer")

    assert viewer.get(CHANNELS).status_code == 200
    assert viewer.post(CHANNELS, FEISHU | {"name": "b"}).status_code == 403
    assert viewer.patch(f"{CHANNELS}/{channel['id']}", {"name": "b"}).status_code == 403
    assert delete(viewer, f"{CHANNELS}/{channel['id']}").status_code == 403


def test_a_narrowed_token_sees_its_services_and_no_channel():
    ServiceFactory(environment="prod", name="a")
    ServiceFactory(environment="dev", name="b")
    narrowed = api_as("admin", environments=["dev"])

    for path in (CHANNELS, "rules", "alerts", "deliveries", "silences"):
        refused = narrowed.get(path)
        assert (refused.status_code, "every environment" in refused.json()["detail"]) == (403, True)
    assert narrowed.post(CHANNELS, FEISHU).status_code == 403
    assert [each["name"] for each in narrowed.get("settings/notifications/services").json()["items"]] == ["b"]


def test_what_was_done_to_a_channel_is_history_without_its_secrets(api):
    channel = made(api)
    api.patch(f"{CHANNELS}/{channel['id']}", {"webhook_url": f"{URL}ff", "name": "night"})
    delete(api, f"{CHANNELS}/{channel['id']}")

    told = list(Event.objects.filter(subject__startswith="notifications.channel").order_by("id"))
    assert [each.kind for each in told] == ["object.created", "object.changed", "object.deleted"]
    assert "address" in told[1].meta["withheld"]
    assert not any(URL in str(each.meta) for each in told)


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_takes_as_many_queries_for_many(api, count, django_assert_num_queries):
    for number in range(count):
        made(api, name=f"c{number}")
    api.get(CHANNELS)

    with django_assert_num_queries(2):
        api.get(CHANNELS)
