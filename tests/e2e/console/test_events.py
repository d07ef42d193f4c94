"""The history is searched, narrowed, brushed and kept as a view."""

from playwright.sync_api import expect

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

LIST = "/admin/agents/event/"


def test_history_is_searched(console: Console, shop: Shop) -> None:
    console.open(LIST)

    console.click(console.page.get_by_role("search").get_by_role("textbox"))
    console.type("declined")
    console.press_to_page("Enter")

    console.sees("PermissionError")
    expect(console.page.locator("#result_list tbody tr", has_text="collect_orders")).to_have_count(0)
    console.check("events")
