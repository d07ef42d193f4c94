from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import AgentToken, Event
from agents.services.tokens import (
    Credential,
    check_agent_token,
    create_agent_token,
    has_agent_tokens,
    revoke_agent_token,
)
from controlplane.common.actors import Actor
from controlplane.common.tokens import hash_secret

pytestmark = pytest.mark.django_db
ACTOR = Actor("admin")


def make(**changes):
    options = {"name": "t", "dialects": [], "environments": [], "expires_at": None, "actor": ACTOR} | changes
    return create_agent_token(**options)


def test_only_a_hash_and_a_prefix_are_stored():
    _token, secret = make()

    stored = AgentToken.objects.values().get()
    assert secret not in str(stored)
    assert (stored["secret_hash"], secret.startswith(stored["prefix"])) == (hash_secret(secret), True)
    assert len(stored["prefix"]) < len(secret) // 3
    assert list(Event.objects.values_list("kind", "actor", "message")) == [("token.created", "admin", "t")]


def test_a_token_of_the_environment_allows_everything(settings):
    settings.INGEST_TOKENS = ("one", "two")

    assert check_agent_token("two", dialect="onestep") == Credential(token_id=None)
    assert check_agent_token("three", dialect="onestep") is None
    assert check_agent_token("", dialect="onestep") is None


def test_a_stored_token_allows_what_it_says():
    token, secret = make(dialects=["onestep"], environments=["prod"])

    credential = check_agent_token(secret, dialect="onestep")

    assert credential == Credential(token_id=token.pk, environments=("prod",))
    assert (credential.speaks_for("prod"), credential.speaks_for("dev")) == (True, False)
    assert check_agent_token(secret, dialect="argus") is None
    assert check_agent_token("\ud800" + secret, dialect="onestep") is None


def test_last_use_is_noted_once_a_minute():
    token, secret = make()

    check_agent_token(secret, dialect="onestep")
    token.refresh_from_db()
    first = token.last_used_at
    check_agent_token(secret, dialect="onestep")
    token.refresh_from_db()
    assert token.last_used_at == first is not None

    AgentToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    check_agent_token(secret, dialect="onestep")
    token.refresh_from_db()
    assert token.last_used_at > first


def test_revoking_is_told_once():
    token, secret = make()

    assert [revoke_agent_token(token, actor=ACTOR), revoke_agent_token(token, actor=ACTOR)] == [True, False]
    assert check_agent_token(secret, dialect="onestep") is None
    assert Event.objects.filter(kind="token.revoked").count() == 1


def test_whether_any_token_could_open_the_door(settings):
    settings.INGEST_TOKENS = ()
    assert not has_agent_tokens()

    token, _secret = make()
    assert has_agent_tokens()

    revoke_agent_token(token, actor=ACTOR)
    assert not has_agent_tokens()

    settings.INGEST_TOKENS = ("x",)
    assert has_agent_tokens()
