"""The console as one operator uses it: every click and every shortcut is counted."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from re import Pattern

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.e2e.console import pictures
from tests.e2e.console.checks import SCHEMES, Scheme, Trouble, inaccessible, too_wide, wear
from tests.e2e.console.forms import Form
from tests.e2e.console.words import Words

LOADED_WITHIN_MS = 15_000
PASSWORD = "only-for-tests-7c1f"
Name = str | Pattern[str]


@dataclass
class Steps:
    """What an operator did: clicks or taps, and keys that are not text. Typing is not counted."""

    clicks: int = 0
    keys: int = 0


class Console:
    """One page of one operator; locators are found by role and label, as they are by people."""

    def __init__(self, context: BrowserContext, form: Form, url: str) -> None:
        self.form = form
        self.words = Words(form.language)
        self.url = url
        self.steps = Steps()
        self.page: Page = context.new_page()
        self.page.set_default_timeout(LOADED_WITHIN_MS)
        self.trouble = Trouble(self.page)
        self.findings: list[str] = []

    # --- where one is

    def open(self, path: str = "/admin/") -> None:
        """By address, as by a bookmark: where an operator begins. Counting starts anew."""
        self.page.goto(f"{self.url}{path}")
        self.steps = Steps()

    def log_in(self, username: str | None = None, password: str = PASSWORD) -> None:
        """Through the login page, which must be open or come up."""
        words = self.words
        self.page.get_by_label(words("Username")).fill(username or self.form.username)
        self.page.get_by_label(words("Password")).fill(password)
        self.page.get_by_role("button", name=words("Log in")).click()
        expect(self.page.locator("#login-form")).to_have_count(0)

    # --- what one does

    def click(self, target: Locator) -> None:
        self.steps.clicks += 1
        target.click()

    def press(self, keys: str) -> None:
        """A shortcut, or a key such as Enter."""
        self.steps.keys += 1
        self.page.keyboard.press(keys)

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.page.keyboard.type(text)

    @contextmanager
    def within(self, *, clicks: int = 0, keys: int = 0) -> Iterator[None]:
        """What is done inside must take no more than this."""
        before = Steps(self.steps.clicks, self.steps.keys)
        yield
        taken = (self.steps.clicks - before.clicks, self.steps.keys - before.keys)
        assert taken[0] <= clicks, f"{taken[0]} clicks where {clicks} should do"
        assert taken[1] <= keys, f"{taken[1]} keys where {keys} should do"

    def press_to_page(self, keys: str) -> None:
        with self.page.expect_navigation():
            self.press(keys)

    def open_navigation(self) -> None:
        """A phone has no room for it beside the page."""
        self.click(self.page.get_by_role("button", name=self.words("Navigation")))

    def open_palette(self) -> None:
        """By its shortcut, or by its button where there is no keyboard."""
        if self.form.is_phone:
            self.click(self.page.get_by_role("button", name=self.words("Search or do…")).locator("visible=true").first)
        else:
            self.press("Control+k")

    def palette_result(self, name: Name) -> Locator:
        return self.page.get_by_role("listbox").get_by_role("option").filter(has_text=name).first

    def click_to_page(self, target: Locator) -> None:
        """Click what leads to another page, and wait for it."""
        with self.page.expect_navigation():
            self.click(target)

    # --- what one sees

    def link(self, name: Name, *, inside: Locator | None = None, exact: bool = False) -> Locator:
        return (inside or self.page).get_by_role("link", name=name, exact=exact).first

    def button(self, name: Name, *, inside: Locator | None = None) -> Locator:
        return (inside or self.page).get_by_role("button", name=name).first

    def card(self, heading: Name) -> Locator:
        """The section with this heading."""
        return self.page.locator("section").filter(has=self.page.get_by_role("heading", name=heading)).first

    def sees(self, text: Name, *, within_ms: float = LOADED_WITHIN_MS) -> None:
        """The text is on the page now or soon, without a step."""
        expect(self.page.get_by_text(text).locator("visible=true").first).to_be_visible(timeout=within_ms)

    def choose(self, field: Locator, value: str) -> None:
        """From a list of choices: one click that opens it, one that chooses."""
        self.steps.clicks += 2
        field.select_option(value)

    @property
    def live(self) -> Locator:
        """What the page says of its own freshness."""
        return self.page.locator("[data-poller]")

    def mark(self) -> None:
        """Remember this document."""
        self.page.evaluate("() => { window.isTheSameDocument = true; }")

    def assert_not_loaded_again(self) -> None:
        assert self.page.evaluate("() => window.isTheSameDocument === true"), "the page was loaded again"

    # --- what must hold of every page

    def check(self, name: str, schemes: Sequence[Scheme] = SCHEMES) -> None:
        """Axe-core in these themes, no sideways scrolling; `name` is what findings and the picture are called."""
        for scheme in schemes:
            self.findings += [f"{name}: {each}" for each in inaccessible(self.page, scheme)]
        if self.form.is_phone:
            self.findings += [f"{name}: too wide: {each}" for each in too_wide(self.page)]
        for scheme in pictures.schemes(name, self.form.name):
            wear(self.page, scheme)
            pictures.take(self.page, f"{name}.{self.form.name}{'.dark' if scheme == 'dark' else ''}")
        wear(self.page, "light")

    def verdict(self) -> list[str]:
        """Everything that was wrong on the way."""
        return [*dict.fromkeys([*self.findings, *self.trouble.seen])]


def numbers_in(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]
