"""The first administrator and the first ingest token: made once, found later, never guessed."""

import stat

import pytest
from django.contrib.auth import get_user_model

from agents.models import AgentToken
from agents.services.tokens import check_agent_token, revoke_agent_token
from controlplane.common.actors import SYSTEM
from controlplane.runtime.banner import banner
from controlplane.runtime.bootstrap import (
    Administrator,
    IngestToken,
    ensure_administrator,
    ensure_ingest_token,
    token_file,
)
from controlplane.runtime.preflight import StartRefused

pytestmark = pytest.mark.django_db

ADMIN = Administrator("admin", None, made_now=False)


@pytest.fixture(autouse=True)
def own_data_dir(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def test_first_administrator_gets_a_generated_password():
    made = ensure_administrator()

    user = get_user_model().objects.get()
    assert (made.username, made.made_now, user.is_superuser, user.is_staff) == ("admin", True, True, True)
    assert user.check_password(made.password)
    assert len(made.password) >= 16


def test_administrator_is_found_and_left_alone():
    first = ensure_administrator()

    second = ensure_administrator()

    assert second == Administrator("admin", None, made_now=False)
    assert get_user_model().objects.get().check_password(first.password)


def test_administrator_of_any_name_is_enough():
    get_user_model().objects.create_superuser("chief", "", "correct horse")

    assert ensure_administrator().username == "chief"
    assert get_user_model().objects.count() == 1


def test_name_of_somebody_else_is_refused():
    get_user_model().objects.create_user("admin", "", "correct horse")

    with pytest.raises(StartRefused, match="ADMIN_USERNAME"):
        ensure_administrator()

    assert get_user_model().objects.get().is_superuser is False


def test_first_token_opens_the_door_and_is_kept_in_the_file():
    token = ensure_ingest_token()

    assert check_agent_token(token.secret, dialect="onestep") is not None
    assert token_file().read_text().strip() == token.secret
    assert stat.S_IMODE(token_file().stat().st_mode) == 0o600


def test_token_is_found_again():
    assert ensure_ingest_token() == ensure_ingest_token()
    assert AgentToken.objects.count() == 1


def test_token_of_the_environment_comes_first_and_none_is_made(settings):
    settings.INGEST_TOKENS = ("one", "two")

    assert ensure_ingest_token() == IngestToken("one")
    assert not AgentToken.objects.exists()


def test_revoked_token_is_not_printed():
    secret = ensure_ingest_token().secret
    revoke_agent_token(AgentToken.objects.get(), actor=SYSTEM)

    token = ensure_ingest_token()

    assert token == IngestToken(None, lost="unusable")
    said = banner(ADMIN, token)
    assert secret not in said
    assert "revoked" in said
    assert "/admin/agents/agenttoken/add/" in said


def test_token_whose_file_is_lost_is_not_made_anew():
    ensure_ingest_token()
    token_file().unlink()

    token = ensure_ingest_token()

    assert token == IngestToken(None, lost="file")
    assert AgentToken.objects.count() == 1
    assert "/admin/agents/agenttoken/add/" in banner(ADMIN, token)


def test_file_of_another_database_is_replaced():
    token_file().write_text("oat_of-a-database-that-is-gone\n")

    token = ensure_ingest_token()

    assert check_agent_token(token.secret, dialect="onestep") is not None
    assert token_file().read_text().strip() == token.secret


def test_file_that_cannot_be_written_leaves_no_token(settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.DATA_DIR = tmp_path / "file"

    with pytest.raises(StartRefused, match="ingest_token"):
        ensure_ingest_token()

    assert not AgentToken.objects.exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("portal.example", "http://portal.example:8000"),
    ],
)
def test_printed_url_can_be_opened_on_this_machine(settings, host, url):
    settings.HOST, settings.PORT = host, 8000

    said = banner(ADMIN, IngestToken("secret"))

    assert f"The portal is up: {url}/admin/\n" in said
    assert f"    ONESTEP_CONTROL_PLANE_URL={url}\n" in said
