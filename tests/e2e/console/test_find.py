"""Any instance is found in one step."""

import pytest
from playwright.sync_api import expect

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres


def test_instance_is_found_by_a_part_of_its_name(console: Console, shop: Shop) -> None:
    console.open("/admin/agents/event/")

    if console.form.is_phone:
        with console.within(clicks=2):
            console.open_palette()
            console.type("orders-2")
            console.click_to_page(console.palette_result("orders-2"))
    else:
        with console.within(keys=2):
            console.press("Control+k")
            console.type("orders-2")
            expect(console.palette_result("orders-2")).to_be_visible()
            console.press_to_page("Enter")

    assert shop.newer.instance_id in console.page.url
    console.sees("orders-2")


def test_instance_in_trouble_is_one_click_from_home(console: Console, shop: Shop) -> None:
    console.open()

    with console.within(clicks=1):
        console.click_to_page(console.link("orders-3"))

    assert shop.gone.instance_id in console.page.url


def test_palette_looks_as_it_should(console: Console) -> None:
    console.open()
    console.open_palette()
    console.type("orders")
    expect(console.palette_result("orders-1")).to_be_visible()

    console.check("palette")
