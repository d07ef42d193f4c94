"""Every page of the console in Chinese: English words on it are names, or were forgotten."""

import re
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from agents.models import Group
from tasks_app.models import Task
from tests.factories import (
    AlertFactory,
    AlertMemberFactory,
    AttemptFactory,
    ChannelFactory,
    DeliveryFactory,
    RuleFactory,
    SilenceFactory,
)
from tests.factories.agents import AgentTokenFactory, CommandFactory, EventFactory, InstanceFactory, ServiceFactory
from tests.integration.console import console_as, text_of

pytestmark = pytest.mark.django_db

# What has the same name in Chinese: products, protocols, formats, units, states and labels on the wire.
NAMES = {
    *(
        "API",
        "APIs",
        "Agent",
        "Argus",
        "Arcade",
        "Beacon",
        "Celery",
        "Ctrl",
        "Esc",
        "Django",
        "English",
        "Fetch",
        "GET",
    ),
    *("HTTP", "HTTPS", "JSON", "JSONL", "JKStack", "OneStep", "POST", "PostgreSQL", "Prometheus", "Python", "Redis"),
    *(
        "SHA",
        "SQLite",
        "TCP",
        "TLS",
        "TTL",
        "URL",
        "UTC",
        "UUID",
        "WebSocket",
        "YAML",
        "CSV",
        "cron",
        "crontab",
        "curl",
    ),
    *("AMQP", "json", "nodes", "onestep", "zh", "hans", "pip", "sha", "utc", "uuid", "admin", "operator", "viewer"),
    *("dev", "prod", "staging", "test", "demo", "default", "localhost", "example", "PID", "CPU", "GiB", "KiB", "MiB"),
    *("NDJSON", "TOKEN", "Control", "Command", "Mac", "cmd", "ping", "sync"),
    # Examples of what may be typed.
    *("region", "in", "eu", "us", "canary", "timeout", "payments", "connection", "refused", "retry", "or"),
    *("min", "max", "hello", "beat", "worker", "web", "grpc"),
    *("Apprise", "Webhook", "Slack", "Telegram", "Teams", "Authorization", "Bearer", "Name", "value"),
    # What a template of a message may name, and what a task may be called.
    *("attempts", "report", "shop"),
}
PAGES = (
    "admin:index",
    "admin:password_change",
    "console_palette",
    "console_zone",
    "fan_out_send",
    "inventory",
    "inventory_capabilities",
    "inventory_suspects",
    "login_again",
    "selector_lab",
    "notification_scope",
)
# Further pages and parts below a row.
PARTS = {
    "notifications.channel": ("edit", "preview", "delete"),
    "notifications.rule": ("edit", "replay"),
    "notifications.silence": ("edit",),
}
READ_ALOUD = {"title", "placeholder", "aria-label", "alt", "data-label", "data-confirm"}
NOT_READ = {"code", "pre", "script", "style", "option", "textarea", "time", "kbd"}
VOID = {"input", "meta", "link", "img", "br", "hr", "path", "rect", "circle", "line"}
WORD = re.compile(r"[A-Za-z][A-Za-z'’]{2,}")
# A wire name, an address, an id, a selector, a version: one sign of it is enough.
NO_WORDS = re.compile(r"\S*[_./:@=\\0-9<>#]\S*")
# Titles of filters over columns that a package has no Chinese for.
TITLES_OF_OTHERS = {"按Access lock out", "按Task Name"}
# Forms that a package makes, from texts of its own that it has in English alone.
FORMS_OF_OTHERS = "django_celery_beat_"
# Names that the rows of this test have.
OURS = "zz"


class Texts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.around = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            # A message in English, beside the same in Chinese, says so.
            is_quoted = attributes.get("lang") == "en" or any(quoted for *_, quoted in self.around)
            self.around.append((tag, attributes.get("class") or "", is_quoted))
        self.found += [value for name, value in attrs if name in READ_ALOUD and value]
        if tag == "meta" and attributes.get("name") == "console-words":
            self.found += [value or "" for name, value in attrs if name.startswith("data-")]

    def handle_endtag(self, tag):
        if any(tag == name for name, *_ in self.around):
            while self.around.pop()[0] != tag:
                pass

    def handle_data(self, data):
        is_name = any(
            "material-symbols-outlined" in classes or "c-mono" in classes or tag in NOT_READ or is_quoted
            for tag, classes, is_quoted in self.around
        )
        if not is_name:
            self.found.append(data)


def english_of(html):
    """The texts of a page that have English words, each with them."""
    reader = Texts()
    reader.feed(html)
    found = {}
    for text in (" ".join(text.split()) for text in reader.found):
        words = [word for word in WORD.findall(NO_WORDS.sub(" ", text)) if word not in NAMES and OURS not in word]
        if words and text not in TITLES_OF_OTHERS:
            found[text] = words
    return found


@pytest.fixture
def fleet():
    """One of everything that has a page, with names that are none of a language."""
    service = ServiceFactory(name="zz", environment="prod")
    instance = InstanceFactory(service=service, node_name="zz-1", hostname="zz-2", external_id="zz-3")
    return {
        "agents.service": service,
        "agents.instance": instance,
        "agents.command": CommandFactory(instance=instance, kind="ping"),
        "agents.event": EventFactory(instance=instance, message=""),
        "agents.agenttoken": AgentTokenFactory(name="zz"),
        "agents.group": Group.objects.create(name="zz", selector="zz=1"),
        "tasks_app.task": Task.objects.create(service=service, name="zz"),
        **told(instance),
    }


def told(instance):
    """What notifications have of it."""
    channel = ChannelFactory(name="zz", last_error="zz", failing_since=timezone.now())
    rule = RuleFactory(name="zz", channels=[channel], quiet_from="22:00", quiet_until="06:00", repeat_s=60)
    silence = SilenceFactory(reason="zz", weekdays=[1], start_time="02:00", duration_min=90, ends_at=None)
    alert = AlertFactory(rule=rule, event_type="instance_offline")
    AlertMemberFactory(alert=alert, instance=instance, service=instance.service, silence=silence)
    delivery = DeliveryFactory(failed=True, channel=channel, rule=rule, alert=alert, title="zz", error="zz", card={})
    AttemptFactory(delivery=delivery, succeeded=False, response="zz", error="zz")
    return {
        "notifications.channel": channel,
        "notifications.rule": rule,
        "notifications.silence": silence,
        "notifications.alert": alert,
        "notifications.delivery": delivery,
    }


def lists():
    for model in admin.site._registry:
        yield f"{model._meta.app_label}_{model._meta.model_name}"


def pages_of(fleet):
    """The address of every page that a superuser can open, by its name."""
    for name in lists():
        yield reverse(f"admin:{name}_changelist")
        if name.startswith(FORMS_OF_OTHERS):
            continue
        try:
            yield reverse(f"admin:{name}_add")
        except NoReverseMatch:
            continue
    for label, row in fleet.items():
        yield reverse(f"admin:{label.replace('.', '_')}_change", args=[row.pk])
        for part in PARTS.get(label, ()):
            yield reverse(f"admin:{label.replace('.', '_')}_{part}", args=[row.pk])
    for provider in ("feishu", "wechat_work", "custom", "email", "apprise"):
        yield f"{reverse('admin:notifications_channel_add')}?provider={provider}"
    for name in PAGES:
        yield reverse(name)


def english_on_pages(fleet):
    client = console_as("superuser", username="zz")
    found = {}
    for address in pages_of(fleet):
        answer = client.get(address, headers={"accept-language": "zh-hans"})
        if answer.status_code != 200:
            assert answer.status_code in {302, 403}, address
            continue
        for text, words in english_of(text_of(answer)).items():
            found.setdefault(text, (address, words))
    return "\n".join(f"{address} says {text!r}" for text, (address, _) in sorted(found.items()))


def test_no_page_says_anything_in_english(fleet):
    assert english_on_pages(fleet) == ""


def test_empty_lists_say_nothing_in_english():
    assert english_on_pages({}) == ""


def test_the_login_and_the_errors_say_nothing_in_english(client):
    for address in ("/admin/login/", "/admin/agents/instance/00000000-0000-0000-0000-000000000000/change/"):
        answer = client.get(address, headers={"accept-language": "zh-hans"}, follow=True)
        assert english_of(text_of(answer)) == {}


def test_english_is_found():
    page = '<p>Forgotten words</p><code>pip install</code><a title="Go on now">好</a><span>zz-1 在线</span>'

    assert english_of(page) == {"Forgotten words": ["Forgotten", "words"], "Go on now": ["now"]}
