"""An empty portal shows how to connect the first agent, and sees it come; or tells what it saw of one that may not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.e2e.console.console import Console
from tests.e2e.console.forms import Form
from tests.e2e.console.shop import make_users
from tests.e2e.harness.agents import GENERATIONS
from tests.e2e.harness.portal import EmbeddedPortal
from tests.e2e.harness.process import Child

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
