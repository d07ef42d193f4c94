import pytest

from tests.integration.controlplane.portals import make_up


@pytest.fixture
def up(tmp_path):
    """An `up` on the embedded default, not started; killed at the end if it still runs."""
    portal = make_up(tmp_path)
    yield portal
    portal.child.kill()


@pytest.fixture(scope="module")
def running_up(tmp_path_factory):
    """One `up` on the embedded default for tests that only look."""
    portal = make_up(tmp_path_factory.mktemp("up"))
    try:
        portal.start()
        yield portal
    finally:
        portal.child.kill()
