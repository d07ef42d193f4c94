"""Every page that the navigation leads to, and one of each kind that a list leads to, holds what must hold of pages."""

import re
from urllib.parse import urlsplit

import pytest

from tests.e2e.console.checks import Scheme
from tests.e2e.console.console import Console
from tests.e2e.console.forms import OTHER_FORMS

pytestmark = pytest.mark.needs_postgres

_FIRST_ROW = "#result_list tbody a[href*='/change/'], .result-list a[href*='/change/']"


@pytest.mark.parametrize("form", OTHER_FORMS, ids=lambda form: form.name, indirect=True, scope="package")
@pytest.mark.timeout(900)
def test_every_page_is_accessible_and_fits(console: Console) -> None:
    # The colours of a theme are the same on each device.
    schemes: tuple[Scheme, ...] = ("light",) if console.form.is_phone else ("dark",)
    console.open()
    hrefs = console.page.eval_on_selector_all(
        "a[href^='/admin/']", "links => links.map((link) => link.getAttribute('href'))"
    )
    paths = sorted(
        {urlsplit(href).path for href in hrefs if not re.search(r"logout|/change/|/add/|export|archive", href)}
    )
    assert len(paths) > 12

    for path in paths:
        console.open(path)
        console.page.wait_for_load_state("load")
        console.check(f"list {path}", schemes)
        row = console.page.locator(_FIRST_ROW).first
        if row.count():
            href = urlsplit(row.get_attribute("href") or "").path
            console.open(href)
            console.check(f"page {href}", schemes)
