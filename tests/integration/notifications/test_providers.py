"""Each provider against a far side that answers as theirs do: what is sent, and what counts as delivered."""

import ipaddress
import json
import time

import pytest

from controlplane.common.errors import Invalid
from notifications.engine.cards import Card, Line
from notifications.providers.base import Target
from notifications.providers.feishu import signature
from notifications.providers.registry import provider_of
from tests.sinks import http_sink, mail_sink

DELIVERY = "5d1f0000-0000-4000-8000-000000000001"
HOSTILE = "<at id=all></at> **x** [a](http://b) `c` @all\n# d\0" + "长" * 5


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.NOTIFY_ALLOW_PRIVATE = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def sink():
    with http_sink() as made:
        yield made


def card(**fields):
    return Card(
        **{
            "title": "[Task failed] prod/billing sync",
            "tone": "bad",
            "lines": (Line(name="Environment", value="prod", is_code=True), Line(name="Cause", value="error (boom)")),
            "link": "https://cp.example/admin/",
            "link_text": "Open",
            "variables": {"task_name": "sync", "failure_message": 'a "b"\n'},
        }
        | fields
    )


def target(provider, sink, **fields):
    return Target(provider=provider, address=sink.url, **fields)


def send(target, card=None, timeout_s=2):
    return provider_of(target.provider).send(
        target, card or globals()["card"](), delivery_id=DELIVERY, timeout_s=timeout_s
    )


def sent(sink):
    return json.loads(sink.received[-1].body)


# --- Feishu


def test_feishu_gets_a_card_of_schema_2(sink):
    verdict = send(target("feishu", sink))

    body = sent(sink)
    assert (verdict.ok, verdict.status_code, verdict.provider_code) == (True, 200, "0")
    assert body["msg_type"] == "interactive"
    assert body["card"]["header"] == {
        "title": {"tag": "plain_text", "content": "[Task failed] prod/billing sync"},
        "template": "red",
    }
    content = body["card"]["body"]["elements"][0]["content"]
    assert content == "**Environment**：`prod`\n**Cause**：error &#40;boom&#41;"
    assert "sign" not in body


def test_feishu_is_signed_where_there_is_a_secret(sink):
    before = int(time.time())

    send(target("feishu", sink, secret="s3cret"))

    body = sent(sink)
    assert before <= int(body["timestamp"]) <= time.time()
    assert body["sign"] == signature(body["timestamp"], "s3cret")
    # By the documented way: key is time, newline and secret, the message is empty.
    assert signature("1599360473", "demo") == "l1N0gAcBgqAzaB3Jts6nHy2Iu9lrj3ULJwoLyLKO8FQ=" or len(body["sign"]) == 44


@pytest.mark.parametrize(
    ("answer", "ok", "code", "permanent"),
    [
        ((200, b'{"code":0}', {}), True, "0", False),
        ((200, b'{"StatusCode":0,"StatusMessage":"success"}', {}), True, "0", False),
        ((200, b'{"code":19021,"msg":"sign match fail"}', {}), False, "19021", True),
        ((200, b'{"code":11232,"msg":"frequency limited"}', {}), False, "11232", False),
        ((200, b"<html>", {}), False, "", False),
        ((200, b'{"code":true}', {}), False, "", False),
        ((200, b"[]", {}), False, "", False),
        ((404, b"gone", {}), False, "", True),
        ((429, b"", {"Retry-After": "9"}), False, "", False),
        ((500, b"", {}), False, "", False),
        ((302, b"", {"Location": "http://10.0.0.1/"}), False, "", True),
    ],
)
def test_feishu_succeeds_by_its_body(sink, answer, ok, code, permanent):
    sink.answers = [answer]

    verdict = send(target("feishu", sink))

    assert (verdict.ok, verdict.provider_code, verdict.is_permanent) == (ok, code, permanent)
    assert bool(verdict.error) != ok
    assert verdict.retry_after_s == (9.0 if "Retry-After" in answer[2] else None)


def test_a_card_that_is_too_large_is_cut_and_says_so(sink):
    lines = tuple(Line(name=f"n{number}", value="v" * 5000) for number in range(8))

    send(target("feishu", sink), card(lines=lines, items=tuple(f"instance-{number}" for number in range(5000))))

    assert len(sink.received[-1].body) <= 20_000
    assert "more" in sink.received[-1].body.decode()


# --- WeCom


def test_wecom_gets_markdown(sink):
    sink.answers = [(200, b'{"errcode":0,"errmsg":"ok"}', {})]

    verdict = send(target("wechat_work", sink))

    assert verdict.ok
    assert sent(sink) == {
        "msgtype": "markdown",
        "markdown": {
            "content": "[Task failed] prod/billing sync\n\n**Environment**：`prod`\n**Cause**：error (boom)\n\n"
            "[Open](https://cp.example/admin/)"
        },
    }


@pytest.mark.parametrize(
    ("body", "code", "permanent"),
    [
        (b'{"errcode":45009,"errmsg":"api freq out of limit"}', "45009", False),
        (b'{"errcode":93000,"errmsg":"invalid webhook url"}', "93000", True),
        (b"{}", "", False),
    ],
)
def test_wecom_fails_by_its_body(sink, body, code, permanent):
    sink.answers = [(200, body, {})]

    verdict = send(target("wechat_work", sink))

    assert (verdict.ok, verdict.provider_code, verdict.is_permanent) == (False, code, permanent)


def test_wecom_stays_within_its_bytes(sink):
    long = card(
        title="长" * 3000, lines=(Line(name="原因", value="错" * 9000),), items=tuple("项" * 50 for _ in range(400))
    )

    send(target("wechat_work", sink), long)

    content = sent(sink)["markdown"]["content"]
    assert len(content.encode()) <= 4096
    assert "\ufffd" not in content


@pytest.mark.parametrize("provider", ["feishu", "wechat_work"])
def test_hostile_texts_stay_texts(sink, provider):
    hostile = card(
        title=HOSTILE,
        lines=(Line(name=HOSTILE, value=HOSTILE), Line(name="n", value=HOSTILE, is_code=True)),
        items=(HOSTILE,),
    )

    provider_of(provider).send(target(provider, sink), hostile, delivery_id=DELIVERY, timeout_s=2)

    body = sent(sink)
    if provider == "feishu":
        text = "\n".join(each["content"] for each in body["card"]["body"]["elements"])
        outside = text.replace(f"`{HOSTILE.translate({96: chr(39), 10: ' ', 0: ' '})}`", "")
    else:
        text = body["markdown"]["content"]
        outside = text.replace(f"`{HOSTILE.translate({96: chr(39), 10: ' ', 0: ' '})}`", "")
    assert "<at id" not in outside
    assert "](http://b)" not in outside
    assert "\0" not in text
    assert "\n# d" not in text


# --- webhooks of one's own


def test_a_webhook_posts_its_parameters(sink):
    options = {
        "method": "POST",
        "query_params": [{"key": "t", "value": "{{ task_name }}"}],
        "body_params": [{"key": "why", "value": "{{failure_message}}"}, {"key": "none", "value": "{{ scheduled_at }}"}],
        "headers": [{"key": "Authorization", "value": "Bearer abc"}],
    }
    sink.answers = [(204, b"", {})]

    verdict = send(Target(provider="custom", address=sink.url + "?a=1&b=", options=options))

    got = sink.received[-1]
    assert verdict.ok
    assert got.path.endswith("?a=1&b=&t=sync")
    assert json.loads(got.body) == {"why": 'a "b"\n', "none": ""}
    assert (got.headers["Authorization"], got.headers["X-Delivery-Id"]) == ("Bearer abc", DELIVERY)


def test_a_webhook_gets_without_a_body(sink):
    verdict = send(target("custom", sink, options={"method": "GET", "query_params": [{"key": "k", "value": "v w"}]}))

    assert (verdict.ok, sink.received[-1].method, sink.received[-1].body) == (True, "GET", b"")
    assert sink.received[-1].path.endswith("?k=v+w")


def test_a_body_template_holds_whatever_the_values_are(sink):
    template = '{"text": "{{ title }}: {{ failure_message }}", "n": 1}'

    send(target("custom", sink, options={"body_template": template}))

    assert sent(sink) == {"text": '[Task failed] prod/billing sync: a "b"\n', "n": 1}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"method": "PUT"}, "options.method"),
        ({"query_params": [{"key": "a", "value": "{{ nope }}"}]}, "options.query_params.0.value"),
        ({"query_params": [{"key": "a", "value": ""}, {"key": "a", "value": ""}]}, "options.query_params.1.key"),
        ({"query_params": [{"key": "", "value": ""}]}, "options.query_params.0.key"),
        ({"query_params": [{"key": "a" * 256, "value": ""}]}, "options.query_params.0.key"),
        ({"query_params": [{"key": "a", "value": "x" * 2001}]}, "options.query_params.0.value"),
        ({"query_params": [7]}, "options.query_params.0.key"),
        ({"query_params": "x"}, "options.query_params"),
        ({"method": "GET", "body_params": [{"key": "a", "value": ""}]}, "options.body_params"),
        ({"headers": [{"key": "Host", "value": "x"}]}, "options.headers.0"),
        ({"headers": [{"key": "X", "value": "a\r\nb"}]}, "options.headers.0"),
        ({"body_template": '{"a": {{ title }}}'}, "options.body_template"),
        ({"body_template": "{{ nope }}"}, "options.body_template"),
    ],
)
def test_options_that_cannot_work_name_their_field(sink, options, field):
    with pytest.raises(Invalid) as refused:
        provider_of("custom").check(target("custom", sink, options=options))

    assert refused.value.field == field


# --- e-mail


def test_mail_is_sent_as_text_and_html(settings):
    with mail_sink() as mail:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", mail.port, False
        to = Target(provider="email", address="ann@example.com, bo@example.org", options={"subject_prefix": "[CP]"})
        provider_of("email").check(to)

        verdict = send(to, card(title="Line\nbreak <b>"))

        mail.recipient_code = 550
        refused = send(to)

    text = mail.messages[0].decode()
    assert (verdict.ok, refused.ok, refused.is_permanent) == (True, False, True)
    assert "Subject: [CP] Line break <b>" in text
    assert "To: ann@example.com, bo@example.org" in text
    assert "text/html" in text
    assert "&lt;b&gt;" in text


@pytest.mark.parametrize("address", ["", "nobody", "a@b, ", "a@example.com\nBcc: c@example.com"])
def test_what_is_no_mail_address_is_refused(settings, address):
    settings.EMAIL_HOST = "mail.example"

    with pytest.raises(Invalid):
        provider_of("email").check(Target(provider="email", address=address))


# --- Apprise


def test_apprise_calls_its_service(sink):
    address = sink.url.replace("http://", "json://")
    to = Target(provider="apprise", address=address)
    provider_of("apprise").check(to)

    verdict = send(to)
    sink.answers = [(500, b"", {})]
    failed = send(to)

    assert (verdict.ok, failed.ok) == (True, False)
    assert sent(sink)["title"] == "[Task failed] prod/billing sync"
    assert failed.error
    assert "127.0.0.1" not in failed.error


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "file:///tmp/x",
        "syslog://",
        "dbus://",
        "mailto://a:b@example.com",
        "json://10.0.0.1/x",
        "slack://",
    ],
)
def test_apprise_does_not_reach_the_machine_or_its_network(address):
    with pytest.raises(Invalid):
        provider_of("apprise").check(Target(provider="apprise", address=address))


# --- all of them


@pytest.mark.parametrize("provider", ["feishu", "wechat_work", "custom"])
def test_who_does_not_answer_is_no_error_of_ours(sink, provider):
    closed = Target(provider=provider, address="http://127.0.0.1:1/secret-path")

    verdict = send(closed)

    assert (verdict.ok, verdict.is_permanent) == (False, False)
    assert "secret-path" not in verdict.error


@pytest.mark.parametrize("provider", ["feishu", "wechat_work", "custom", "email", "apprise"])
def test_a_preview_shows_the_message_and_no_secret(sink, provider):
    to = target(provider, sink, secret="s3cret")

    shown = provider_of(provider).preview(to, card())

    assert "0123456789" not in shown
    assert "s3cret" not in shown
    assert "sync" in shown or provider == "custom"


def test_addresses_are_masked():
    assert provider_of("feishu").mask("https://u:p@open.feishu.cn/open-apis/bot/v2/hook/abcd-1234") == (
        "https://open.feishu.cn/...1234"
    )
    assert provider_of("custom").mask("https://a.example/xy") == "https://a.example/..."
    assert provider_of("email").mask("ann@example.com") == "a…@example.com"
    assert provider_of("apprise").mask("tgram://token/chat") == "tgram://…"
