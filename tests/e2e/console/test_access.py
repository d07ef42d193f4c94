"""A program gets a token, uses it, and loses it."""

import re

import pytest
import requests
from playwright.sync_api import expect

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

# What the pages show is the same of either database: test_home and test_connect run on SQLite.
pytestmark = pytest.mark.needs_postgres


def test_api_token_is_made_used_and_revoked(console: Console, shop: Shop) -> None:
    words = console.words
    name = f"dashboard {console.form.name}"
    console.open("/admin/access/apitoken/add/")
    console.page.get_by_label(words("Name")).first.fill(name)
    _act_as(console)
    console.check("token-form")
    console.click_to_page(console.button(words("Save")))
    expect(console.page.get_by_role("heading", name=words("The token is made"))).to_be_visible()
    secret = console.page.locator("[data-copy-text]").inner_text().strip()
    console.click(console.button(words("Copy")))
    console.sees(words("Copied"))
    assert console.page.evaluate("navigator.clipboard.readText()") == secret

    assert _status(shop, secret) == 200

    console.open("/admin/access/apitoken/")
    console.check("tokens")
    with console.within(clicks=3):
        console.click_to_page(console.link(name))
        console.page.once("dialog", lambda dialog: dialog.accept())
        console.click(console.button(words("Revoke")))
        console.sees(re.compile(f"^{re.escape(words('Revoked'))}"))
    assert _status(shop, secret) == 401


def test_users_page_shows_who_may_what(console: Console) -> None:
    console.open("/admin/auth/user/")

    console.sees(console.form.username)
    console.check("users")


def _act_as(console: Console) -> None:
    """Choose whom the token acts as, in the list that searches."""
    field = console.page.get_by_role("combobox").first
    if console.form.username in field.inner_text():
        return
    console.click(field)
    console.page.locator("input.select2-search__field").last.fill(console.form.username)
    console.click(console.page.get_by_role("option", name=console.form.username, exact=True))


def _status(shop: Shop, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    return requests.get(f"{shop.url}/api/v1/services", headers=headers, timeout=30).status_code
