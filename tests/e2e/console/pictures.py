"""Screenshots for the documents, made only where CONSOLE_SCREENSHOTS is set: tests leave the tree as it was."""

import base64
import os
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.console.checks import Scheme

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "screenshots"
MAX_BYTES = 150 * 1024
# Tried in turn until the file is small enough.
QUALITIES = (82, 70, 55, 40)
# What README and the documents show, by form.
SHOWN = {
    "en.desktop": {
        "home", "service", "task", "instance", "command", "command-waiting", "fan-out-before", "fan-out", "events",
        "system", "connect", "palette",
    },
    "zh-hans.phone": {"home", "instance", "events"},
}  # fmt: skip
DARK = {("en.desktop", "home")}


def schemes(name: str, form: str) -> tuple[Scheme, ...]:
    """The themes in which this page is wanted as a picture; mostly none."""
    if not os.environ.get("CONSOLE_SCREENSHOTS") or name not in SHOWN.get(form, ()):
        return ()
    return ("light", "dark") if (form, name) in DARK else ("light",)


def take(page: Page, name: str) -> None:
    """Store what is on the screen as docs/screenshots/<name>.webp."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    picture = _small(page)
    assert len(picture) <= MAX_BYTES, f"{name}: {len(picture)} bytes"
    (FOLDER / f"{name}.webp").write_bytes(picture)


def _small(page: Page) -> bytes:
    session = page.context.new_cdp_session(page)
    try:
        picture = b""
        for quality in QUALITIES:
            # Playwright itself has no WebP, which is a third of a PNG of the same page.
            answer = session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
            picture = base64.b64decode(answer["data"])
            if len(picture) <= MAX_BYTES:
                break
        return picture
    finally:
        session.detach()
