"""A task is watched and steered on its page."""

import pytest
from playwright.sync_api import expect

from tests.e2e.console.console import LOADED_WITHIN_MS, Console
from tests.e2e.console.orders import OrderForm
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres


def test_failing_task_shows_what_failed(console: Console, shop: Shop) -> None:
    console.open(f"/admin/tasks_app/task/{shop.task_id('charge_card')}/change/")

    console.sees("PermissionError")
    console.check("task")


def test_task_is_paused_and_resumed(console: Console, shop: Shop) -> None:
    words = console.words
    path = f"/admin/tasks_app/task/{shop.task_id('nightly_report')}/change/"
    for button, state in (("Pause", "Paused"), ("Resume", "Running")):
        console.open(path)
        with console.within(clicks=3):
            row = console.page.get_by_role("row").filter(has_text="orders-1")
            console.click_to_page(console.link(words(button), inside=row, exact=True))
            order = OrderForm(console)
            order.fill("Reason", "end to end test")
            order.send()
            console.sees(words("Succeeded"))
        # By itself, as soon as the agent tells of it.
        console.mark()
        expect(row).to_contain_text(words(state), timeout=LOADED_WITHIN_MS)
        console.assert_not_loaded_again()


def test_task_runs_once_with_a_payload(console: Console, shop: Shop) -> None:
    words = console.words
    console.open(f"/admin/tasks_app/task/{shop.task_id('nightly_report')}/change/")

    with console.within(clicks=4):
        row = console.page.get_by_role("row").filter(has_text="orders-1")
        console.click_to_page(console.link(words("Run once"), inside=row, exact=True))
        order = OrderForm(console)
        order.fill("Payload", '{"month": 11}')
        order.fill("Reason", "end to end test")
        order.send()
        console.sees(words("Succeeded"))


def test_dead_letter_is_replayed(console: Console, shop: Shop) -> None:
    words = console.words
    console.open(f"/admin/tasks_app/task/{shop.task_id('charge_card')}/change/")

    with console.within(clicks=3):
        row = console.page.get_by_role("row").filter(has_text="billing-1")
        console.click_to_page(console.link(words("Replay"), inside=row, exact=True))
        order = OrderForm(console)
        order.fill("Reason", "the card works again")
        order.send()
        console.sees(words("Succeeded"))
