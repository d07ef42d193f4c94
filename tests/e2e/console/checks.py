"""What must hold of every page that a flow comes to: no errors in the browser, accessible, as wide as the screen."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import ConsoleMessage, Page, Request, Response

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
VENDOR = Path(__file__).parent / "vendor"
GRAVE = {"serious", "critical"}
# Between two themes nothing fades: colours are measured as they stay.
_STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
_WEAR = """
(scheme) => {
    document.documentElement.classList.toggle("dark", scheme === "dark");
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""
_RUN_AXE = """
async () => {
    const found = await axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        resultTypes: ["violations"],
    });
    return found.violations.map((each) => ({
        rule: each.id, impact: each.impact, help: each.help,
        nodes: each.nodes.map((node) => [
            node.target.join(" "), node.html.slice(0, 160), node.any.map((check) => check.message).join(" "),
        ].join(" | ")),
    }));
}
"""
# What sticks out, unless something around it scrolls by itself.
_TOO_WIDE = """
() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const scrolls = (element) => {
        for (let each = element.parentElement; each; each = each.parentElement) {
            if (/auto|scroll|hidden|clip/.test(getComputedStyle(each).overflowX) && each !== document.body) return true;
        }
        return false;
    };
    const found = [...document.body.querySelectorAll("*")]
        .filter((element) => element.getBoundingClientRect().right > width + 1 && !scrolls(element))
        .slice(0, 5).map((element) => element.outerHTML.slice(0, 120));
    return [`${document.documentElement.scrollWidth} of ${width} pixels`, ...found];
}
"""


class Trouble:
    """Errors that the browser saw on a page: its console, scripts that broke off, requests that failed."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        self._is_expected = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """What comes within is what the test brings about, as by a portal that it stops."""
        self._is_expected = True
        try:
            yield
        finally:
            self._is_expected = False

    def _note(self, what: str) -> None:
        if not self._is_expected:
            self.seen.append(what)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"console: {message.text} ({message.location.get('url', '')})")

    def _failed(self, request: Request) -> None:
        # A page that is left aborts what it had asked for.
        if request.failure and "ERR_ABORTED" not in request.failure:
            self._note(f"request: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"answer: {response.request.method} {response.url}: HTTP {response.status}")


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways; empty where it does not."""
    return page.evaluate(_TOO_WIDE)


def inaccessible(page: Page, scheme: Scheme) -> list[str]:
    """What axe-core finds grave in this theme, a line for each."""
    wear(page, scheme)
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate((VENDOR / "axe.min.js").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(_RUN_AXE)
    return [
        f"{scheme}: {each['rule']} ({each['impact']}): {each['help']}: {node}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


def wear(page: Page, scheme: Scheme) -> None:
    """Show the page in a theme, as a reader whose system has it."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.add_style_tag(content=_STILL)
    page.evaluate(_WEAR, scheme)
