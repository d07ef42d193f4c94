"""The checks themselves: each finds what it is there for."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.console.checks import Trouble, inaccessible, too_wide
from tests.e2e.console.forms import Form
from tests.e2e.console.words import Words

pytestmark = pytest.mark.any_servers
GOOD = """<!doctype html><html lang="en"><head><title>Good</title><meta name="viewport" content="width=device-width">
<style>html.dark { background: black; color: white; } html.dark .grey { color: #222; }</style></head>
<body><main><h1>Good</h1><p class="grey">It can be read.</p>%s</main></body></html>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(**Form("en", is_phone=True).context)
    yield context.new_page()
    context.close()


def test_what_is_good_is_left_alone(page: Page) -> None:
    trouble = Trouble(page)
    page.set_content(GOOD % "")

    assert (inaccessible(page, "light"), too_wide(page), trouble.seen) == ([], [], [])


def test_contrast_is_looked_at_in_each_theme(page: Page) -> None:
    page.set_content(GOOD % "")

    assert "color-contrast" in inaccessible(page, "dark")[0]
    assert inaccessible(page, "light") == []


def test_button_without_a_name_is_found(page: Page) -> None:
    page.set_content(GOOD % "<button style='width:30px;height:30px'></button>")

    assert "button-name" in inaccessible(page, "light")[0]


def test_what_sticks_out_is_found_unless_it_scrolls_by_itself(page: Page) -> None:
    wide = "<div id='wide' style='width:900px;height:9px'></div>"
    page.set_content(GOOD % f"<div style='overflow-x:auto' tabindex='0'>{wide}</div>")
    assert too_wide(page) == []

    page.set_content(GOOD % wide)
    assert "wide" in too_wide(page)[1]


def test_trouble_of_the_browser_is_told_unless_it_is_expected(page: Page) -> None:
    trouble = Trouble(page)
    page.set_content(GOOD % "")

    with trouble.expected():
        page.evaluate("() => console.error('brought about')")
    page.evaluate("() => console.error('out of order')")
    page.evaluate("() => { setTimeout(() => { throw new Error('broke off'); }, 0); }")
    page.wait_for_timeout(200)

    assert [each.split(" (")[0] for each in trouble.seen] == ["console: out of order", "script: broke off"]


def test_words_are_those_of_the_language() -> None:
    words = Words("zh-hans")

    assert words("Instances") == "实例"
    assert words.plural("%(n)s instance", "%(n)s instances", 3) == "3 个实例"
    assert words.shape("So since %(since)s.").search("此状态开始于 3 秒前。") is not None
