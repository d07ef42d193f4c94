"""A command in three clicks; why one waits or failed, where one looks."""

import uuid

import pytest

from agents.models.command import CommandKind
from tests.e2e.console.console import Console
from tests.e2e.console.orders import OrderForm
from tests.e2e.console.shop import Shop
from tests.e2e.harness.waiting import eventually

pytestmark = pytest.mark.needs_postgres


def test_command_takes_three_clicks_and_its_result_comes_by_itself(console: Console, shop: Shop) -> None:
    console.open(shop.page_of(shop.steady))

    with console.within(clicks=3):
        order = OrderForm(console)
        order.open()
        order.choose(CommandKind.PING)
        order.send()
        console.sees(console.words("Succeeded"))

    console.check("command")


def test_instance_page_shows_its_timeline(console: Console, shop: Shop) -> None:
    console.open(shop.page_of(shop.billing))

    console.sees("charge_card")
    console.check("instance")


def test_instance_page_tells_why_a_command_waits(console: Console, shop: Shop) -> None:
    # Not one that a flow before this may have cancelled.
    command_id = uuid.UUID(shop.hold_command(shop.gone).removeprefix("cmd_"))
    console.open(shop.page_of(shop.gone))

    why = console.words("The instance is not connected; the command is held until it connects, or until its deadline.")
    with console.within(clicks=1):
        console.click_to_page(console.page.locator(f"main a[href*='/agents/command/{command_id}/change/']").first)
        console.sees(why)
    console.check("command-waiting")


def test_instance_page_tells_why_a_command_failed(console: Console, shop: Shop) -> None:
    command = shop.api.run(
        shop.steady.instance_id,
        "run_task_once",
        reason="the month that is not",
        args={"task_name": "nightly_report", "payload": {"month": 13}},
    )
    assert command["status"] == "failed"

    with console.within(clicks=0):
        console.open(shop.page_of(shop.steady))
        console.sees("there is no month 13")


def test_command_can_be_cancelled_where_it_waits(console: Console, shop: Shop) -> None:
    command_id = shop.hold_command(shop.gone)
    console.open(f"/admin/agents/command/{uuid.UUID(command_id.removeprefix('cmd_'))}/change/")

    with console.within(clicks=2):
        console.click(console.button(console.words("Cancel this command")))
        console.sees(console.words("Cancelled"))

    eventually(lambda: shop.api.command(command_id)["status"] == "cancelled", "it is cancelled")
