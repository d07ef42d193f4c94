"""Agent tokens on the console: made by a form, shown once, revoked."""

import pytest

from agents.models import AgentToken
from agents.services.tokens import check_agent_token
from tests.factories import AgentTokenFactory
from tests.integration.console import console_as, said, text_of, url

pytestmark = pytest.mark.django_db


def make(client, **fields):
    data = {"name": "warehouse", "environments": ["prod", "staging"], "dialects": ["onestep"], **fields}
    return client.post(url("agents_agenttoken_add"), data)


def test_secret_is_shown_once_with_the_three_lines():
    client = console_as("admin")

    page = make(client)

    token = AgentToken.objects.get()
    secret = page.context["secret"]
    assert (token.dialects, token.environments, token.created_by) == (["onestep"], ["prod", "staging"], client.person)
    assert check_agent_token(secret, dialect="onestep").token_id == token.pk
    lines = (
        f"ONESTEP_CONTROL_PLANE_URL=http://testserver\n"
        f"ONESTEP_CONTROL_PLANE_TOKEN={secret}\n"
        f"ONESTEP_CONTROL_PLANE_ENVIRONMENT=prod"
    )
    assert lines in text_of(page)
    assert "no-store" in page["Cache-Control"]
    for path in (url("agents_agenttoken_change", token.pk), url("agents_agenttoken_changelist"), url("index")):
        assert secret not in text_of(client.get(path))
    assert secret not in str(dict(client.session))


def test_token_form_has_one_way_out():
    page = text_of(console_as("admin").get(url("agents_agenttoken_add")))

    assert "_addanother" not in page
    assert "_continue" not in page
    assert "_save" in page


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "taken"},
        {"dialects": ["nonsense"]},
        {"dialects": ["jkstack"]},
        {"environments": ["mars"]},
        {"expires_at_0": "soon"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"},
    ],
)
def test_refused_token_form_makes_nothing(fields):
    AgentTokenFactory(name="taken")

    page = make(console_as("admin"), **fields)

    assert page.status_code == 200
    assert page.context["errors"]
    assert AgentToken.objects.count() == 1


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_make_and_revoke_tokens(role):
    token = AgentTokenFactory()
    client = console_as(role)

    assert make(client).status_code == 403
    assert "Revoke" not in text_of(client.get(url("agents_agenttoken_change", token.pk)))
    client.post(url("agents_agenttoken_revoke", token.pk))
    client.post(
        url("agents_agenttoken_changelist"),
        {"action": "revoke_selected", "_selected_action": token.pk, "confirm": 1},
    )
    token.refresh_from_db()
    assert token.revoked_at is None


def test_token_is_revoked_once():
    token = AgentTokenFactory()
    client = console_as("admin")

    first = client.post(url("agents_agenttoken_revoke", token.pk), follow=True)
    second = client.post(url("agents_agenttoken_revoke", token.pk), follow=True)

    assert said(first) == [f"{token.name} was revoked."]
    assert said(second) == [f"{token.name} was revoked before."]


def test_revoking_several_asks_again_and_counts():
    fresh, revoked = AgentTokenFactory(), AgentTokenFactory(revoked_at="2026-01-01T00:00Z")
    client = console_as("admin")
    chosen = {"action": "revoke_selected", "_selected_action": [fresh.pk, revoked.pk]}

    asked = client.post(url("agents_agenttoken_changelist"), chosen)
    fresh.refresh_from_db()
    untouched = fresh.revoked_at
    done = client.post(url("agents_agenttoken_changelist"), {**chosen, "confirm": 1}, follow=True)

    assert "Revoke these tokens?" in text_of(asked)
    assert untouched is None
    assert said(done) == ["1 token revoked.", "1 token was revoked before."]


def test_tokens_are_neither_edited_nor_deleted():
    token = AgentTokenFactory()
    client = console_as("superuser")

    assert client.post(url("agents_agenttoken_change", token.pk), {"name": "other"}).status_code == 405
    assert client.post(url("agents_agenttoken_delete", token.pk), {"post": "yes"}).status_code == 403


def test_list_tells_usable_expired_and_revoked_apart():
    AgentTokenFactory(name="fresh")
    AgentTokenFactory(name="gone", expires_at="2020-01-01T00:00Z")
    AgentTokenFactory(name="cut", revoked_at="2026-01-01T00:00Z")
    client = console_as()

    found = {
        state: [
            token.name
            for token in client.get(url("agents_agenttoken_changelist"), {"state": state}).context["cl"].result_list
        ]
        for state in ("usable", "expired", "revoked")
    }

    assert found == {"usable": ["fresh"], "expired": ["gone"], "revoked": ["cut"]}
