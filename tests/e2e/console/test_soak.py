"""A page that is left open does not grow: what it holds after many refreshes is what it held after a few."""

from collections.abc import Mapping

import pytest
from playwright.sync_api import CDPSession

from tests.e2e.console.console import Console
from tests.e2e.console.forms import MAIN_FORMS
from tests.e2e.console.shop import Shop

REFRESHES = 2000
# What is loaded and compiled once has been by then.
WARM_UP = 200
# A day of a page that refreshes every five seconds is 17,000 refreshes; a node more with each would be seen here.
HEAP_GROWTH_MAX_BYTES = 1_500_000
NODE_GROWTH_MAX = 300
LISTENER_GROWTH_MAX = 50
# Each refresh is asked for when the one before it is on the page.
_REFRESH = """
async (count) => {
    const poller = document.querySelector("[data-poller]");
    let done = 0;
    for (let number = 0; number < count; number += 1) {
        await new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`refresh ${number} was not answered`)), 20000);
            const finish = (event) => {
                if (event.detail.elt !== poller && event.detail.requestConfig?.elt !== poller) return;
                document.removeEventListener("htmx:afterRequest", finish);
                clearTimeout(timer);
                done += 1;
                setTimeout(resolve, 0);
            };
            document.addEventListener("htmx:afterRequest", finish);
            htmx.trigger(poller, "console:refresh");
        });
    }
    return done;
}
"""


# What a page holds is the same in each language and on each device.
@pytest.mark.parametrize("form", MAIN_FORMS[:1], ids=lambda form: form.name, indirect=True, scope="package")
@pytest.mark.needs_postgres
@pytest.mark.timeout(600)
def test_open_page_does_not_grow(console: Console, shop: Shop) -> None:
    console.open()
    session = console.page.context.new_cdp_session(console.page)
    console.page.evaluate(_REFRESH, WARM_UP)
    before = _held(session)

    done = console.page.evaluate(_REFRESH, REFRESHES)

    after = _held(session)
    grown = {name: after[name] - before[name] for name in after}
    print(f"{REFRESHES} refreshes: {grown}, from {before}")
    assert done == REFRESHES
    assert grown["JSHeapUsedSize"] < HEAP_GROWTH_MAX_BYTES
    assert grown["Nodes"] < NODE_GROWTH_MAX
    assert grown["JSEventListeners"] < LISTENER_GROWTH_MAX


def _held(session: CDPSession) -> Mapping[str, int]:
    """What the page holds once nothing is left that could be collected."""
    session.send("Performance.enable")
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    metrics = session.send("Performance.getMetrics")["metrics"]
    found = {each["name"]: int(each["value"]) for each in metrics}
    return {name: found[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners")}
