"""The ten steps of the argus contract, on the embedded default and on the database at hand."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.harness.portal import own_database
from tests.e2e.registry_steps import STEPS, Site, own_site, start


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One process, on SQLite, or on PostgreSQL where DATABASE_URL names one."""
    folder = tmp_path_factory.mktemp("registry")
    server_url = os.environ.get("DATABASE_URL", "")
    if not server_url.startswith("postgres"):
        yield from _running(own_site(folder))
        return
    with own_database(server_url) as database_url:
        yield from _running(own_site(folder, DATABASE_URL=database_url))


def _running(site: Site) -> Iterator[Site]:
    assert site.portal is not None
    try:
        start(site)
        yield site
    finally:
        site.portal.kill()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step_of_the_contract_holds(site: Site, step: Callable[[Site], None]) -> None:
    """Each goes on where the one before ended."""
    step(site)
