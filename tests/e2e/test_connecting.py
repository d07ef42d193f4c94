"""Connecting an agent as the console tells to: its command is pasted into a shell, and the page says what is seen."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest
import requests

from tests.e2e.harness.agents import FAST, GENERATIONS
from tests.e2e.harness.portal import EmbeddedPortal, Portal
from tests.e2e.harness.waiting import eventually

MAKE_ADMIN = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("connector", password="a long pass phrase", is_staff=True)
user.groups.add(Group.objects.get(name="admin"))
"""


class Page:
    """The answer of the form: the command, and the part that is fetched anew."""

    def __init__(self, portal: Portal, browser: requests.Session, **chosen: str) -> None:
        self._url, self._browser = portal.urls[0], browser
        form = browser.get(f"{self._url}/admin/connect/", timeout=30)
        chosen = {"dialect": "onestep", "environment": "dev", "name": "first-agent"} | chosen
        page = browser.post(
            form.url, chosen | {"csrfmiddlewaretoken": field(form.text)}, headers={"Referer": form.url}, timeout=30
        ).text
        self.command = unescape(found(r'id="connect-command"[^>]*>(.*?)</pre>', page))
        self._live = unescape(found(r'hx-get="([^"]+)"', page))

    def seen(self, *, waited_s: int = 0) -> str:
        live = re.sub(r"since=([\d.]+)", lambda match: f"since={float(match[1]) - waited_s}", self._live)
        return self._browser.get(self._url + live, timeout=30).text

    def wait_for(self, text: str, *, waited_s: int = 0) -> str:
        eventually(lambda: text in self.seen(waited_s=waited_s), f"the page says {text!r}", timeout_s=40)
        return self.seen(waited_s=waited_s)


def field(html: str) -> str:
    return found(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)


def found(pattern: str, html: str) -> str:
    match = re.search(pattern, html, re.DOTALL)
    assert match is not None, html
    return match[1]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal of its own whose registry asks for tokens: refusals of other tests' agents would be told here."""
    portal = EmbeddedPortal(tmp_path_factory.mktemp("connecting"), AUTH_MODE="token", AGENT_HELLO_TIMEOUT_S="2")
    try:
        portal.start()
        yield portal
        portal.stop()
    finally:
        portal.kill()


@pytest.fixture(scope="module")
def browser(asking: Portal) -> requests.Session:
    asking.run_python(MAKE_ADMIN)
    browser = requests.Session()
    url = f"{asking.urls[0]}/admin/login/"
    form = {"username": "connector", "password": "a long pass phrase", "next": "/admin/"}
    shown = field(browser.get(url, timeout=30).text)
    answer = browser.post(url, form | {"csrfmiddlewaretoken": shown}, headers={"Referer": url}, timeout=30)
    assert "/login/" not in answer.url
    return browser


@contextmanager
def pasted(command: str, work_dir: Path) -> Iterator[None]:
    """A shell in which the packages of agents are at hand, with that command typed into it."""
    environment = FAST | {
        "PATH": f"{GENERATIONS['current'].parent}:{os.environ['PATH']}",
        "HOME": str(work_dir),
        "ONESTEP_STATE_DIR": str(work_dir / "state"),
    }
    log = (work_dir / "shell.log").open("w")
    with (
        log,
        subprocess.Popen(
            ["/bin/sh", "-c", command], cwd=work_dir, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as shell,
    ):
        try:
            yield
        finally:
            os.killpg(shell.pid, 15)
            shell.wait(timeout=20)


def test_nothing_that_arrived_is_told_after_a_minute(asking, browser):
    page = Page(asking, browser, name="nobody")

    assert "Waiting for the agent" in page.seen()
    assert "Nothing has arrived at this address" in page.seen(waited_s=61)


@pytest.mark.parametrize("dialect", ["onestep", "argus"])
def test_the_pasted_command_turns_the_page_green(asking, browser, work_dir, dialect):
    page = Page(asking, browser, dialect=dialect, name=f"green-{dialect}")
    assert 'data-stage="waiting"' in page.seen()

    with pasted(page.command, work_dir):
        seen = page.wait_for('data-stage="green"')

    assert re.search(r"/admin/agents/instance/[0-9a-f-]{36}/change/", seen)


def without_token(command: str) -> str:
    return re.sub(r"ONESTEP_CONTROL_PLANE_TOKEN='[^']*'", "ONESTEP_CONTROL_PLANE_TOKEN='oat_of_nobody'", command)


def cut_token(command: str) -> str:
    return re.sub(r"(oat_[\w-]{16})[\w-]+", r"\1", command)


def in_prod(command: str) -> str:
    return command.replace("ENVIRONMENT='dev'", "ENVIRONMENT='prod'")


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        (without_token, "nobody here has made it"),
        (cut_token, "cut or changed"),
        (in_prod, "Wrong environment"),
    ],
)
def test_an_agent_that_is_refused_is_told_by_cause(asking, browser, work_dir, spoiled, told):
    page = Page(asking, browser, name=f"refused-{spoiled.__name__}")

    with pasted(spoiled(page.command), work_dir):
        page.wait_for(told, waited_s=61)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("revoked_at=timezone.now()", "it was revoked"),
        ("expires_at=timezone.now()", "it has expired"),
        ("dialects=['argus']", "another dialect"),
    ],
)
def test_a_token_that_opens_no_door_any_more_is_told_by_cause(asking, browser, work_dir, change, told):
    page = Page(asking, browser, name="spent")
    asking.run_python(
        "from django.utils import timezone; from agents.models import AgentToken; "
        f"AgentToken.objects.filter(pk=AgentToken.objects.latest('pk').pk).update({change})"
    )

    with pasted(page.command, work_dir):
        page.wait_for(told)


def test_a_hello_that_is_refused_is_told(asking, browser, work_dir):
    """One that connects and says nothing, which is what a program of another protocol does."""
    page = Page(asking, browser, name="mute")
    secret = re.search(r"oat_[\w-]+", page.command)[0]
    url = asking.urls[0].replace("http", "ws") + "/api/v1/agents/ws"
    script = (
        "import asyncio, websockets\n"
        "async def main():\n"
        f"    async with websockets.connect('{url}', subprotocols=['bearer.{secret}']) as each:\n"
        "        await each.wait_closed()\n"
        "asyncio.run(main())"
    )

    with pasted(f'python3 -c "{script}"; sleep 60', work_dir):
        page.wait_for("its hello was refused")


def test_a_node_of_another_environment_is_told(asking, browser, work_dir):
    page = Page(asking, browser, dialect="argus", name="astray")

    with pasted(page.command.replace('"env":"dev"', '"env":"prod"') + "; sleep 60", work_dir):
        page.wait_for("Wrong environment")
