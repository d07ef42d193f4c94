"""Who is told: tried, silenced and ruled from where one looks, each in two clicks."""

import re
import uuid

import pytest
from playwright.sync_api import expect

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres

MAKE_ALERT = """
from django.utils import timezone
from agents.models import Service
from notifications.models import Alert, AlertMember, Rule
now = timezone.now()
rule = Rule.objects.create(name={name!r}, event_types=["task_failed"], enabled=False)
alert = Alert.objects.create(
    rule=rule, key="k", event_type="task_failed", status="firing", opened_at=now, last_at=now, event_count=1)
AlertMember.objects.create(
    alert=alert, subject="task:1:charge_card", service=Service.objects.get(name="billing"), task_name="charge_card",
    first_at=now, last_at=now, told={{"message": "card refused"}})
print(alert.pk)
"""


def a_name(what: str) -> str:
    return f"{what} {uuid.uuid4().hex[:8]}"


def test_instance_is_silenced_in_two_clicks(console: Console, shop: Shop) -> None:
    console.open(shop.page_of(shop.gone))

    with console.within(clicks=2):
        console.click_to_page(console.link(console.words("Silence this")))
        console.click_to_page(console.button(console.words("Save")))

    console.sees(console.words("In force"))
    console.sees("portal/node=orders-3")
    console.check("silence")
    console.click_to_page(console.button(console.words("End it now")))
    console.sees(console.words("Ended early"))


def test_alert_is_silenced_in_two_clicks(console: Console, shop: Shop) -> None:
    made = shop.portal.run_python(MAKE_ALERT.format(name=a_name("alert")))
    console.open(f"/admin/notifications/alert/{made.split()[-1]}/change/")
    console.sees("card refused")
    console.check("alert")

    with console.within(clicks=2):
        console.click(console.page.locator("#silence-it > summary"))
        console.click_to_page(console.button(console.words("1 hour")))

    console.sees(console.words("In force"))
    console.sees("charge_card")


def test_event_becomes_a_rule_in_two_clicks(console: Console, shop: Shop) -> None:
    events = shop.api.get("/api/v1/history", kind="task.failed", service="billing", limit=1)["items"]
    console.open(f"/admin/agents/event/{events[0]['id']}/change/")

    with console.within(clicks=2):
        console.click_to_page(console.link(console.words("Tell me of such")))
        name = console.page.locator("#id_name")
        name.fill(f"{name.input_value()} {uuid.uuid4().hex[:8]}")
        console.click_to_page(console.button(console.words("Save")))

    console.sees("prod/billing")
    console.check("rule")


def test_rule_says_while_it_is_typed_whom_it_means_and_what_it_would_have_told(console: Console, shop: Shop) -> None:
    console.open("/admin/notifications/rule/add/")
    console.page.locator("[name='types_tasks'][value='task_failed']").check()
    console.page.locator("#id_service_scopes").fill("prod/biling")

    with console.within(clicks=2):
        console.click(console.button("prod/billing"))
        expect(console.page.locator("#id_service_scopes")).to_have_value("prod/billing")
        expect(console.page.locator("#scope-meant")).to_contain_text(re.compile(r"billing-1"))
        console.click(console.page.locator("#replay-title ~ p button").first)
        expect(console.page.locator("#replayed .n-days")).to_be_visible()
    console.check("rule-form")


def test_channel_is_tried_and_the_answer_shown(console: Console, shop: Shop) -> None:
    name = a_name("channel")
    channel = {"name": name, "provider": "feishu", "webhook_url": "https://hooks.invalid/bot/abcd"}
    made = shop.api.post("/api/v1/settings/notifications/channels", channel).json()
    console.open(f"/admin/notifications/channel/{made['id']}/change/")
    console.sees(
        "[任务失败] prod/web/shop sync" if console.form.language != "en" else "[Task failed] prod/web/shop sync"
    )

    with console.within(clicks=1):
        console.click(console.button(console.words("Send a test"), inside=console.page.locator("#test")))
        console.sees(console.words("Not delivered."))

    assert made["webhook_url_masked"] in console.page.content()
    assert "hooks.invalid/bot" not in console.page.content()
    console.check("channel")
