"""One portal, in one process, for all tests of the contract, on PostgreSQL where DATABASE_URL names one."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.contract.orders import Orders, play_orders
from tests.e2e.contract.stage import ContractPortal, Stage
from tests.e2e.harness.api import Api
from tests.e2e.harness.portal import own_database


@contextmanager
def contract_portal(work_dir: Path, **settings: str) -> Iterator[ContractPortal]:
    server_url = os.environ.get("DATABASE_URL", "")
    with ExitStack() as stack:
        if server_url.startswith("postgres"):
            settings["DATABASE_URL"] = stack.enter_context(own_database(server_url))
        portal = ContractPortal(work_dir, **settings)
        stack.callback(portal.kill)
        portal.start()
        yield portal


@pytest.fixture(scope="package")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContractPortal]:
    """Nobody goes offline here, however slow the machine is."""
    with contract_portal(tmp_path_factory.mktemp("contract"), INSTANCE_OFFLINE_AFTER_S="3600") as portal:
        yield portal


@pytest.fixture(scope="package")
def stage(portal: ContractPortal) -> Iterator[Stage]:
    stage = Stage(portal)
    yield stage
    stage.close()


@pytest.fixture(scope="package")
def api(portal: ContractPortal) -> Api:
    """As an administrator's program."""
    return portal.api()


@pytest.fixture(scope="package")
def orders(stage: Stage) -> Orders:
    return play_orders(stage)
