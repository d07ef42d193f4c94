"""A page that loses its stream says so, and catches up by itself when the stream is back."""

import re

import pytest
from playwright.sync_api import expect

from agents.models.command import CommandKind
from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop

pytestmark = pytest.mark.needs_postgres

# What the page shows of the loss, and of the return; a portal takes some seconds to start again.
NOTICED_WITHIN_MS = 30_000
BACK_WITHIN_MS = 90_000


def test_page_follows_what_happens(console: Console, shop: Shop) -> None:
    console.open(f"/admin/agents/service/{shop.service_id('orders')}/change/")
    expect(console.live).to_contain_text(console.words("Live"), timeout=NOTICED_WITHIN_MS)
    console.mark()

    shop.api.run(shop.newer.instance_id, "ping", reason="seen by a page that is open")

    console.sees(console.words.label(CommandKind.PING.label), within_ms=10_000)
    console.assert_not_loaded_again()


@pytest.mark.timeout(400)
def test_page_says_that_it_is_paused_and_catches_up(console: Console, shop: Shop) -> None:
    words = console.words
    console.open(f"/admin/agents/service/{shop.service_id('orders')}/change/")
    expect(console.live).to_contain_text(words("Live"), timeout=NOTICED_WITHIN_MS)
    console.mark()

    with console.trouble.expected():
        shop.portal.web(0).terminate()
        expect(console.live).to_contain_text(words("Live paused"), timeout=NOTICED_WITHIN_MS)
        expect(console.live).to_have_text(re.compile(r"\d"))
        console.check("live-paused")
        shop.portal.start()
        # Told to the portal while the page is still blind: it is what it must catch up with.
        command = shop.api.order(shop.newer.instance_id, "flush_metrics", reason="while nobody looked")
        expect(console.live).not_to_contain_text(words("Live paused"), timeout=BACK_WITHIN_MS)

    shop.api.wait_for_command(command["command_id"])
    console.sees(words.label(CommandKind.FLUSH_METRICS.label))
    console.assert_not_loaded_again()
