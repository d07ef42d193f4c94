"""One command to many: what it would do before it is sent, what becomes of each, and those that failed once more."""

import re

import pytest
from playwright.sync_api import expect

from agents.models.command import CommandKind
from tests.e2e.console.console import Console
from tests.e2e.console.orders import OrderForm
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres


def test_service_page_shows_what_it_is_made_of(console: Console, shop: Shop) -> None:
    console.open(f"/admin/agents/service/{shop.service_id('orders')}/change/")

    console.sees("orders-1")
    console.sees("notify_customer")
    console.check("service")


def test_command_goes_to_many_and_again_to_those_that_failed(console: Console, shop: Shop) -> None:
    words = console.words
    console.open(f"/admin/agents/service/{shop.service_id('orders')}/change/")
    order = OrderForm(console)
    order.open()
    order.choose(CommandKind.RUN_TASK_ONCE)
    order.choose_task("nightly_report")
    order.fill("Payload", '{"month": 13}')
    order.fill("Reason", "the month that is not")
    order.send()

    for what in ("Meant", "Offline", "Cannot do it", "Busy"):
        console.sees(words(what))
    console.check("fan-out-before")

    console.click_to_page(
        console.button(re.compile(re.escape(words.plural("Send %(n)s command", "Send %(n)s commands", 2))))
    )
    targets = console.page.locator("#targets")
    expect(targets.get_by_text(words("Failed")).first).to_be_visible()
    again = console.link(words.plural("Again for the %(n)s without success", "Again for the %(n)s without success", 2))
    expect(again).to_be_visible()
    console.check("fan-out")

    console.click_to_page(again)
    console.click_to_page(
        console.button(re.compile(re.escape(words.plural("Send %(n)s command", "Send %(n)s commands", 2))))
    )
    expect(console.page.locator("#targets").get_by_text(words("Failed")).first).to_be_visible()
