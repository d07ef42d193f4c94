import pytest

from tests.sockets import serving


@pytest.fixture
def agent_door(settings):
    """One ingest token that opens the door: `dev-token`."""
    settings.INGEST_TOKENS = ("dev-token",)


@pytest.fixture
async def connect(transactional_db, agent_door):
    """Opens agent sockets on the real application; `connect.hub` is the process's hub."""
    async with serving() as opener:
        yield opener
