"""How the portal itself fares: what is wrong with it, and how to mend that."""

import pytest

from tests.e2e.console.console import Console

pytestmark = pytest.mark.needs_postgres


def test_system_page_checks_the_portal_itself(console: Console) -> None:
    words = console.words
    console.open("/admin/system/")

    # The portals of the tests have a key of fewer characters than the check asks for: a finding, and its remedy.
    console.sees(words("Self-check"))
    console.sees(words("SECRET_KEY is weak"))
    console.sees(words("Make a new one, set SECRET_KEY to it and start the portal again; everybody logs in anew."))
    console.sees(words("Retention"))
    console.sees("agents_event")
    console.check("system")


def test_self_check_is_one_click_from_home(console: Console) -> None:
    console.open()

    if console.form.is_phone:
        console.open_navigation()
    with console.within(clicks=1):
        console.click_to_page(console.link(console.words("State of the portal")))

    console.sees(console.words("Self-check"))


def test_access_page_shows_people_and_tokens(console: Console) -> None:
    console.open("/admin/access/")

    console.sees(console.form.username)
    console.check("access")
