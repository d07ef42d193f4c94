"""A browser where the machine has one, the fleet, and an operator's page in each language and on each device."""

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.console.console import Console
from tests.e2e.console.forms import MAIN_FORMS, Form
from tests.e2e.console.shop import Shop, open_shop
from tests.e2e.harness.process import REPOSITORY

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]


def chromium() -> str:
    """The path of the browser; skips where there is none, unless REQUIRE_BROWSER says that this is a failure."""
    # An installation is for CI, not for the machine of whoever runs a test.
    found = subprocess.run(
        [REPOSITORY / "scripts" / "browser"],
        env=os.environ | {"BROWSER_INSTALL": "no"},
        check=False,
        capture_output=True,
        text=True,
    )
    if found.returncode == 0:
        return found.stdout.strip()
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(f"REQUIRE_BROWSER is set, and yet: {found.stderr}")
    pytest.skip(found.stderr.strip())


# Of the package, not the session: Playwright leaves a running event loop in this thread, which no other test may find.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """After the browser, so that nothing is started where there is none."""
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="package", params=MAIN_FORMS, ids=lambda form: form.name)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture(scope="package")
def storage(browser: Browser, shop: Shop, form: Form) -> dict[str, object]:
    """What the browser of a logged-in operator keeps: each of them logs in once, through the login page."""
    context = browser.new_context(**form.context)
    try:
        console = Console(context, form, shop.url)
        console.open()
        console.log_in()
        assert console.verdict() == []
        return dict(context.storage_state())
    finally:
        context.close()


@pytest.fixture
def console(browser: Browser, shop: Shop, form: Form, storage: dict[str, object]) -> Iterator[Console]:
    """A logged-in operator on a new page; at the end, nothing may have been wrong with any page on the way."""
    context = browser.new_context(**form.context, storage_state=storage)  # type: ignore[arg-type]
    console = Console(context, form, shop.url)
    yield console
    verdict = console.verdict()
    context.close()
    assert not verdict, "\n".join(verdict)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows where its page was, and the last lines of the processes."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.failed and (console := fixtures.get("console")) is not None and report.when == "call":
        picture = Path(str(item.config.rootpath)) / "var" / "console-failures" / f"{item.name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        console.page.screenshot(path=picture)
        report.sections.append(("page", f"{console.page.url}\n{picture}\n" + "\n".join(console.trouble.seen)))
    if report.failed and "shop" in fixtures:
        report.sections.append(("shop", fixtures["shop"].tails()))
    return report
