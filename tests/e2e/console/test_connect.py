"""An empty portal shows how to connect the first agent, and sees it come; or tells what it saw of one that may not."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.console.console import Console
from tests.e2e.console.forms import MAIN_FORMS, Form
from tests.e2e.console.shop import make_users
from tests.e2e.harness.agents import GENERATIONS
from tests.e2e.harness.portal import EmbeddedPortal
from tests.e2e.harness.process import Child

# The portal of a newcomer, whatever servers this run has.
pytestmark = pytest.mark.any_servers

CONNECTED_WITHIN_MS = 90_000
DIAGNOSED_WITHIN_MS = 100_000


@pytest.fixture
def empty(tmp_path: Path, form: Form) -> Iterator[EmbeddedPortal]:
    """What a newcomer has after `make up`."""
    portal = EmbeddedPortal(tmp_path)
    try:
        portal.start()
        make_users(portal, form.username)
        yield portal
        portal.stop()
    finally:
        portal.kill()


@pytest.fixture
def newcomer(browser: Browser, empty: EmbeddedPortal, form: Form) -> Iterator[Console]:
    context = browser.new_context(**form.context)
    console = Console(context, form, empty.urls[0])
    console.open()
    console.log_in()
    yield console
    verdict = console.verdict()
    context.close()
    assert not verdict, "\n".join(verdict)


def shell(command: str, work_dir: Path) -> Child:
    """What a person does with a command: paste it into a shell, in an environment that has the agent's packages."""
    bin_dir = GENERATIONS["current"].parent
    environment = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    environment |= {"PATH": f"{bin_dir}:{os.environ['PATH']}", "VIRTUAL_ENV": str(bin_dir.parent)}
    child = Child("shell", ["bash", "-c", command], environment=environment, log_dir=work_dir)
    child.start()
    return child


def get_command(newcomer: Console) -> str:
    """The text to paste, for the dialect that is offered first; the page with it stays open."""
    words = newcomer.words
    with newcomer.within(clicks=1):
        newcomer.click_to_page(newcomer.button(words("Get the command")))
    expect(newcomer.page.get_by_role("heading", name=words("Paste this where the agent runs"))).to_be_visible()
    return newcomer.page.locator("#connect-command").inner_text()


def test_first_agent_is_connected_by_one_command(newcomer: Console, tmp_path: Path) -> None:
    newcomer.check("connect-empty")
    command = get_command(newcomer)
    newcomer.check("connect")
    newcomer.mark()

    agent = shell(command, tmp_path)
    try:
        connected = newcomer.page.locator("#live-connect")
        expect(connected).to_contain_text(newcomer.words("Connected"), timeout=CONNECTED_WITHIN_MS)
        newcomer.assert_not_loaded_again()
        newcomer.check("connect-green")
    finally:
        agent.kill()


# Once, for it takes the minute that the page waits before it tells.
@pytest.mark.parametrize("form", MAIN_FORMS[1:], ids=lambda form: form.name, indirect=True, scope="package")
def test_agent_with_a_wrong_token_is_told_on_the_same_page(newcomer: Console, tmp_path: Path) -> None:
    command = re.sub(r"(_TOKEN=')[^']+", r"\1oat_not-the-one", get_command(newcomer))

    agent = shell(command, tmp_path)
    try:
        told = newcomer.page.locator("#live-connect")
        expect(told.get_by_text(newcomer.words("Refused since then"))).to_be_visible(timeout=DIAGNOSED_WITHIN_MS)
        expect(told.locator("[data-told]")).to_be_visible(timeout=DIAGNOSED_WITHIN_MS)
        newcomer.check("connect-refused")
    finally:
        agent.kill()
