"""Channels on the console: made by a form per provider, tried, previewed, and never with their secrets."""

import ipaddress

import pytest
from cryptography.fernet import Fernet
from django.utils import timezone

from agents.models import Event
from notifications.models import Channel, Delivery
from notifications.secrets import decrypt
from notifications.selectors.targets import target_of
from tests.factories import AttemptFactory, ChannelFactory, DeliveryFactory, RuleFactory
from tests.integration.console import console_as, said, text_of, url
from tests.integration.notifications.sink import sink

pytestmark = pytest.mark.django_db

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SECRET = "https://open.feishu.cn/open-apis/bot/v2/hook/0123456789abcdef"
FEISHU = {"provider": "feishu", "name": "on call", "enabled": "on", "language": "zh-hans", "address": SECRET}
HOOK = {"provider": "custom", "name": "hook", "language": "en", "address": "https://hooks.example.com/x"}


@pytest.fixture
def operator():
    return console_as("operator")


def add(client, **fields):
    return client.post(url("notifications_channel_add"), FEISHU | fields, follow=True)


def edit(client, channel, **fields):
    data = {"provider": channel.provider, "name": channel.name, "language": channel.language, **fields}
    return client.post(url("notifications_channel_edit", channel.pk), data, follow=True)


def test_first_the_provider_is_chosen(operator):
    page = text_of(operator.get(url("notifications_channel_add")))

    for provider in ("feishu", "wechat_work", "custom", "email", "apprise"):
        assert f"?provider={provider}" in page


@pytest.mark.parametrize(
    ("provider", "asked", "not_asked"),
    [
        ("feishu", {"address", "secret"}, {"method", "headers"}),
        ("wechat_work", {"address"}, {"secret", "method"}),
        ("custom", {"address", "method", "query_params", "body_params", "body_template", "headers"}, {"secret"}),
        ("email", {"address"}, {"secret", "method"}),
        ("apprise", {"address"}, {"secret", "method"}),
    ],
)
def test_each_provider_asks_for_its_own(operator, provider, asked, not_asked):
    form = operator.get(url("notifications_channel_add"), {"provider": provider}).context["adminform"].form

    assert asked <= set(form.fields)
    assert not not_asked & set(form.fields)


def test_a_channel_is_made_and_its_secrets_are_shown_nowhere(operator):
    page = add(operator, secret="s1gn")

    channel = Channel.objects.get()
    assert (channel.provider, channel.language, channel.enabled) == ("feishu", "zh-hans", True)
    assert (target_of(channel).address, target_of(channel).secret) == (SECRET, "s1gn")
    assert said(page) == ["on call was made."]
    paths = [url("notifications_channel_change", channel.pk), url("notifications_channel_edit", channel.pk)]
    for path in (url("notifications_channel_changelist"), *paths):
        shown = text_of(operator.get(path))
        assert SECRET not in shown
        assert "s1gn" not in shown
    assert "https://open.feishu.cn/...cdef" in shown
    assert not any(SECRET in str(event.meta) for event in Event.objects.all())


def test_an_edit_without_secrets_keeps_them(operator):
    add(operator, secret="s1gn")
    channel = Channel.objects.get()

    page = edit(operator, channel, name="night")

    channel.refresh_from_db()
    assert said(page) == ["night was changed."]
    assert (target_of(channel).address, target_of(channel).secret) == (SECRET, "s1gn")


def test_a_secret_is_replaced_or_taken_away(operator):
    add(operator, secret="s1gn")
    channel = Channel.objects.get()

    edit(operator, channel, secret="other", address=f"{SECRET}ff")
    replaced = target_of(Channel.objects.get())
    edit(operator, channel, drops_secret="on")

    assert (replaced.secret, replaced.address) == ("other", f"{SECRET}ff")
    assert target_of(Channel.objects.get()).secret == ""


def test_headers_are_written_and_never_read(operator):
    add(operator, **HOOK, headers="Authorization: Bearer t0ken\nX-Team: a", query_params="a={{ task_name }}")
    channel = Channel.objects.get()
    page = text_of(operator.get(url("notifications_channel_edit", channel.pk)))

    edit(operator, channel, method="GET")

    channel.refresh_from_db()
    headers = {each["key"]: decrypt(each["value"]) for each in channel.options["headers"]}
    assert headers == {"Authorization": "Bearer t0ken", "X-Team": "a"}
    assert ("t0ken" in page, "Authorization, X-Team" in page) == (False, True)
    assert channel.options["method"] == "GET"
    edit(operator, channel, drops_headers="on")
    channel.refresh_from_db()
    assert channel.options["headers"] == []


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": ""}, "name"),
        ({"address": ""}, "address"),
        ({"per_minute": "0"}, "per_minute"),
        ({"provider": "custom", "query_params": "nonsense"}, "query_params"),
        ({"provider": "custom", "query_params": "a=1\na=2"}, "query_params"),
        ({"provider": "custom", "query_params": "a={{ nonsense }}"}, "query_params"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_what_cannot_be_is_told_at_its_field_and_stored_nowhere(operator, fields, place):
    page = add(operator, **fields)

    assert list(page.context["adminform"].form.errors) == [place]
    assert Channel.objects.count() == 0


def test_a_name_that_is_taken_is_told(operator):
    ChannelFactory(name="on call")

    page = add(operator)

    form = page.context["adminform"].form
    assert (Channel.objects.count(), form["name"].value()) == (1, "on call")
    assert form.errors == {"name": ["notification channel name already exists"]}


def test_a_test_is_really_sent_and_its_answer_shown(operator, settings):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    with sink() as far:
        channel = ChannelFactory(url=far.url, provider="feishu", options={})
        path = url("notifications_channel_test", channel.pk)
        good = text_of(operator.post(path, {"message": "Hello there"}, headers={"HX-Request": "true"}))
        far.answer = (200, {"code": 19021, "msg": "sign match fail"})
        bad = text_of(operator.post(path, headers={"HX-Request": "true"}))
        whole = operator.post(path)

    assert "Hello there" in str(far.bodies[0])
    assert "Delivered" in good
    assert ("Not delivered" in bad, "sign match fail" in bad, "19021" in bad) == (True, True, True)
    assert ("Not delivered" in text_of(whole), whole.context["object"]) == (True, channel)
    assert Delivery.objects.filter(kind="test").count() == 3


def test_a_test_that_the_budget_has_no_room_for_is_told_on_the_page(operator, settings):
    settings.NOTIFY_ALLOW_PRIVATE = LOOPBACK
    with sink() as far:
        channel = ChannelFactory(url=far.url, provider="feishu", options={}, per_minute=1)
        path = url("notifications_channel_test", channel.pk)
        operator.post(path)
        refused = operator.post(path)

    assert "used up what it may send" in refused.context["verdict_problem"]
    assert refused.context["verdict_problem"] in text_of(refused)
    assert (len(far.bodies), Delivery.objects.count()) == (1, 1)


def test_subjects_of_mails_begin_as_the_channel_says(operator):
    mail = {"provider": "email", "name": "mail", "language": "en", "address": "ops@example.com"}
    add(operator, **mail, subject_prefix="[portal]")
    channel = Channel.objects.get()
    path = url("notifications_channel_edit", channel.pk)

    shown = operator.get(path).context["adminform"].form["subject_prefix"].value()
    edit(operator, channel, name="night")

    channel.refresh_from_db()
    assert (shown, channel.options) == ("[portal]", {"subject_prefix": ""})


def test_a_channel_whose_key_is_gone_is_shown_and_says_so_where_it_matters(operator, settings):
    channel = ChannelFactory()
    settings.NOTIFY_SECRET_KEYS = (Fernet.generate_key().decode(),)

    page = operator.get(url("notifications_channel_change", channel.pk))
    tried = operator.post(url("notifications_channel_test", channel.pk))
    written = edit(operator, channel, address="https://hooks.example.com/new")

    assert page.status_code == 200
    assert "encrypted with another key" in tried.context["verdict"].error
    assert said(written) == [f"{channel.name} was changed."]


def test_a_viewer_looks_and_sends_nothing():
    channel, viewer = ChannelFactory(), console_as("viewer")

    page = text_of(viewer.get(url("notifications_channel_change", channel.pk)))

    assert "Send a test" not in page
    assert viewer.post(url("notifications_channel_test", channel.pk)).status_code == 403
    assert viewer.get(url("notifications_channel_edit", channel.pk)).status_code == 403
    assert viewer.get(url("notifications_channel_add")).status_code == 403
    assert Delivery.objects.count() == 0


def test_a_preview_has_the_card_in_both_languages():
    channel = ChannelFactory(language="zh-hans")

    page = console_as().get(url("notifications_channel_preview", channel.pk), {"type": "instance_offline"})

    assert [preview.language for preview in page.context["previews"]] == ["en", "zh-hans"]
    assert [preview.card.title for preview in page.context["previews"]] == [
        "[Instance offline] prod/web/shop shop-7",
        "[实例离线] prod/web/shop shop-7",
    ]
    assert 'lang="zh-hans"' in text_of(page)


def test_a_page_tells_how_it_fares(operator):
    channel = ChannelFactory(failing_since=timezone.now(), last_error="connection refused", per_minute=10)
    for _ in range(3):
        AttemptFactory(delivery=DeliveryFactory(channel=channel, failed=True))
    rule = RuleFactory(channels=[channel], name="away")

    page = operator.get(url("notifications_channel_change", channel.pk))

    assert (page.context["use"].minute, page.context["use"].share) == (3, 30)
    shown = text_of(page)
    assert "connection refused" in shown
    assert url("notifications_rule_change", rule.pk) in shown
    assert len(page.context["deliveries"]) == 3


def test_a_page_costs_the_same_for_many(operator, django_assert_max_num_queries):
    channel = ChannelFactory()
    for _ in range(3):
        AttemptFactory(delivery=DeliveryFactory(channel=channel))
        RuleFactory(channels=[channel])
    operator.get(url("notifications_channel_change", channel.pk))

    with django_assert_max_num_queries(10):
        operator.get(url("notifications_channel_change", channel.pk))
    with django_assert_max_num_queries(8):
        operator.get(url("notifications_channel_live", channel.pk))


def test_channels_are_turned_off_and_on(operator):
    channel, other = ChannelFactory(), ChannelFactory()

    operator.post(url("notifications_channel_turn", channel.pk))
    data = {"action": "enable_selected", "_selected_action": [channel.pk, other.pk]}
    page = operator.post(url("notifications_channel_changelist"), data, follow=True)

    assert said(page)[-1] == "1 channel turned on."
    assert Channel.objects.filter(enabled=True).count() == 2


def test_a_deleted_channel_leaves_what_is_queued(operator):
    channel = ChannelFactory()
    queued = DeliveryFactory(channel=channel)

    asked = operator.get(url("notifications_channel_delete", channel.pk))
    operator.post(url("notifications_channel_delete", channel.pk), {"post": "yes"})

    queued.refresh_from_db()
    assert asked.status_code == 200
    assert (Channel.objects.count(), queued.channel_id, bool(queued.target)) == (0, None, True)
    assert Event.objects.filter(kind="object.deleted").count() == 1


def test_one_whose_key_is_gone_is_deleted_and_what_is_queued_given_up(operator, settings):
    channel = ChannelFactory()
    queued = DeliveryFactory(channel=channel)
    settings.NOTIFY_SECRET_KEYS = (Fernet.generate_key().decode(),)

    operator.post(url("notifications_channel_delete", channel.pk), {"post": "yes"})

    queued.refresh_from_db()
    assert (Channel.objects.count(), queued.status, queued.target) == (0, "failed", "")
    assert "encrypted with another key" in queued.error


def test_the_list_is_narrowed_by_how_they_fare(operator):
    now = timezone.now()
    names = {
        "failing": ChannelFactory(failing_since=now).name,
        "ok": ChannelFactory(last_success_at=now).name,
        "untried": ChannelFactory().name,
        "off": ChannelFactory(enabled=False).name,
    }

    for state, name in names.items():
        page = operator.get(url("notifications_channel_changelist"), {"state": state})
        assert [row.name for row in page.context["cl"].result_list] == [name]
