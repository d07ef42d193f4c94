"""A portal in the form that this run has servers for, and a fleet of two real agents of one client generation."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.harness.agents import GENERATIONS, Agent
from tests.e2e.harness.api import Api
from tests.e2e.harness.faults import FaultPortal, fault_portal
from tests.e2e.harness.ledger import Ledger
from tests.e2e.harness.portal import Portal, running_portal
from tests.e2e.harness.waiting import eventually


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with running_portal(tmp_path_factory.mktemp("portal")) as portal:
        yield portal


_ledger = Ledger()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    return _ledger


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultPortal]:
    """A portal whose processes and servers may be stopped; every test leaves all of them running."""
    with fault_portal() as portal:
        yield portal


@dataclass
class Fleet:
    """One service with two instances. `far` hangs on another web process than `api` talks to, where there are two."""

    service: str
    api: Api
    far: Agent
    near: Agent

    @property
    def agents(self) -> tuple[Agent, Agent]:
        return self.far, self.near

    def is_online(self, agent: Agent) -> bool:
        row = self.api.instance(self.service, agent.instance_id)
        return bool(row) and row["connectivity"] == "online" and row["active_session"] is not None

    def wait_until_online(self, agent: Agent) -> None:
        eventually(lambda: self.is_online(agent), f"{agent.name} is online with a session")


# What an older client says is the same to either database.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.needs_postgres if name == "old" else ()) for name in sorted(GENERATIONS)
    ],
)
def generation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fleet(portal: Portal, generation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    work_dir = tmp_path_factory.mktemp(f"fleet-{generation}")
    service = f"proof-{generation}"
    far, near = (
        Agent(
            f"{generation}-{name}",
            generation=generation,
            service=service,
            url=url,
            token=portal.ingest_token,
            work_dir=work_dir,
        )
        for name, url in (("far", portal.urls[-1]), ("near", portal.urls[0]))
    )
    fleet = Fleet(service, portal.api(0), far, near)
    try:
        for agent in fleet.agents:
            agent.start()
        for agent in fleet.agents:
            fleet.wait_until_online(agent)
        yield fleet
    finally:
        for agent in fleet.agents:
            agent.kill()


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the last lines of every process it had to do with."""
    report = yield
    if report.failed:
        fixtures = getattr(item, "funcargs", {})
        for name in ("portal", "faulty"):
            if name in fixtures:
                report.sections.append((name, fixtures[name].tails()))
        if "fleet" in fixtures:
            report.sections.append(("agents", "\n".join(agent.tail() for agent in fixtures["fleet"].agents)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := _ledger.lines():
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            # One portal and one fleet for all: they must not be spread over workers.
            item.add_marker(pytest.mark.xdist_group("e2e"))
            item.add_marker(pytest.mark.timeout(300))
