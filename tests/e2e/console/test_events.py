"""The history is searched, narrowed, brushed and kept as a view."""

from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres

LIST = "/admin/agents/event/"


def rows(console: Console) -> Locator:
    return console.page.locator(".c-event-rows > li")


def query(console: Console) -> dict[str, list[str]]:
    return parse_qs(urlsplit(console.page.url).query)


def test_history_is_searched(console: Console, shop: Shop) -> None:
    console.open(LIST)
    expect(rows(console).filter(has_text="collect_orders").first).to_be_visible()

    with console.within(clicks=1, keys=1):
        console.click(console.page.get_by_role("search").get_by_role("searchbox"))
        console.type("declined")
        console.press_to_page("Enter")

    expect(rows(console).filter(has_text="PermissionError").first).to_be_visible()
    expect(rows(console).filter(has_text="collect_orders")).to_have_count(0)
    console.check("events-search")


def test_history_is_narrowed_by_what_it_is_made_of(console: Console, shop: Shop) -> None:
    console.open(LIST)

    facets = console.page.get_by_role("complementary", name=console.words("Narrow it down"))
    with console.within(clicks=2):
        console.click_to_page(console.link("charge_card", inside=facets))
        console.click_to_page(console.link(console.words("Error"), inside=facets))

    expect(rows(console).filter(has_text="charge_card").first).to_be_visible()
    expect(rows(console).filter(has_text="find_invoices")).to_have_count(0)
    console.check("events")


def test_time_is_chosen_by_a_drag_over_the_histogram(console: Console, shop: Shop) -> None:
    console.open(f"{LIST}?since=15m")
    plot = console.page.locator("#chart-events .u-over")
    expect(plot).to_be_visible()
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2

    with console.within(clicks=1), console.page.expect_navigation():
        console.steps.clicks += 1
        console.page.mouse.move(box["x"] + box["width"] * 0.6, middle)
        console.page.mouse.down()
        console.page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=8)
        console.page.mouse.up()

    assert {"from", "to"} <= set(query(console))


def test_time_is_chosen_by_keys(console: Console, shop: Shop) -> None:
    console.open(f"{LIST}?since=15m")
    bars = console.page.locator("#chart-events [data-chart-canvas]")
    expect(bars.locator(".u-over")).to_be_visible()
    bars.focus()

    for key in ("End", "ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        console.page.keyboard.press(key)
    with console.page.expect_navigation():
        console.page.keyboard.press("Enter")

    begin, end = (datetime.fromisoformat(query(console)[name][0]) for name in ("from", "to"))
    # Three of 32 bars of a quarter of an hour.
    assert timedelta(seconds=80) <= end - begin <= timedelta(seconds=90)


def test_view_is_saved_and_opened_again(console: Console, shop: Shop) -> None:
    words = console.words
    name = f"Declined cards {console.form.name}"
    console.open(f"{LIST}?q=declined")

    console.click(console.page.get_by_text(words("Save this view")).locator("visible=true").first)
    console.page.get_by_label(words("Name")).locator("visible=true").first.fill(name)
    console.click_to_page(console.button(words("Save")))

    console.open(LIST)
    with console.within(clicks=2):
        console.click_to_page(console.link(name))
    assert query(console)["q"] == ["declined"]
