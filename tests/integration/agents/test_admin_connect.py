"""Connecting an agent: who may, what the token is, and what the page says of an agent that does not come."""

import re
import uuid
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentToken, Event
from agents.services.errors import InstanceConflict
from agents.services.refusals import record_refusal
from agents.services.sessions import open_session
from agents.services.tokens import check_agent_token, revoke_agent_token
from controlplane.common.actors import SYSTEM
from tests.factories import InstanceFactory, ReplicaFactory, SessionFactory
from tests.integration.agents.registry import META_DATA, Registry
from tests.integration.agents.test_sessions import hello
from tests.integration.console import console_as, text_of

pytestmark = pytest.mark.django_db
CHOSEN = {"dialect": "onestep", "environment": "dev", "name": "first"}


@pytest.fixture
def admin():
    return console_as("admin")


def made(client, **chosen):
    """The token, its secret, and where its page looks."""
    page = text_of(client.post(reverse("connect"), CHOSEN | chosen))
    secret = re.search(r"oat_[\w-]{20,}", page)[0]
    return AgentToken.objects.latest("pk"), secret, unescape(re.search(r'hx-get="([^"]+)"', page)[1])


def seen(client, live, *, waited_s=0):
    """The live part, as it is after so many seconds."""
    live = re.sub(r"since=([\d.]+)", lambda found: f"since={float(found[1]) - waited_s}", live)
    return text_of(client.get(live))


def refuse(secret, **more):
    record_refusal(dialect="onestep", peer_address="10.0.0.7", reason="Told.", secret=secret, **more)


def test_only_who_may_make_tokens_gets_one(admin):
    operator = console_as("operator")

    assert operator.get(reverse("connect")).status_code == 403
    assert operator.post(reverse("connect"), CHOSEN).status_code == 403
    assert not AgentToken.objects.exists()


def test_the_token_is_narrow_short_lived_audited_and_shown_once(admin):
    token, secret, live = made(admin)

    assert (token.dialects, token.environments) == (["onestep"], ["dev"])
    assert timedelta(minutes=59) < token.expires_at - timezone.now() <= timedelta(hours=1)
    assert Event.objects.get(kind="token.created").subject == f"agents.agenttoken:{token.pk}"
    assert secret not in seen(admin, live)
    assert secret not in text_of(admin.get(reverse("connect")))


def has_end(token):
    token.refresh_from_db()
    return token.expires_at is not None


def test_the_first_agent_that_is_let_in_takes_its_end_away(admin):
    token, secret, _live = made(admin)
    credential = check_agent_token(secret, dialect="onestep")
    assert has_end(token)

    for _ in range(2):
        open_session(hello(uuid.uuid4()), replica_id=ReplicaFactory().pk, credential=credential, peer_address="")

    assert not has_end(token)
    assert Event.objects.filter(kind="object.changed", subject=f"agents.agenttoken:{token.pk}").count() == 1


def test_who_is_refused_with_it_leaves_its_end(admin):
    token, secret, _live = made(admin)
    credential = check_agent_token(secret, dialect="onestep")
    elsewhere = InstanceFactory()

    with pytest.raises(InstanceConflict):
        open_session(hello(elsewhere.pk), replica_id=ReplicaFactory().pk, credential=credential, peer_address="")

    assert has_end(token)


def test_a_node_that_is_refused_leaves_its_end_and_one_that_registers_takes_it(admin, settings):
    settings.AUTH_MODE = "token"
    token, secret, _live = made(admin, dialect="argus")
    nodes = Registry(Authorization=f"Bearer {secret}")

    assert nodes.register(name="").status_code == 400
    assert has_end(token)
    nodes.registered(meta_data=META_DATA | {"env": "dev"})
    assert not has_end(token)


def test_unused_it_expires(admin):
    token, secret, _live = made(admin)
    AgentToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())

    assert check_agent_token(secret, dialect="onestep") is None


@pytest.mark.parametrize(
    "bad", [{"dialect": "jkstack"}, {"name": "a'; rm -rf /"}, {"environment": "nowhere"}, {"name": ""}]
)
def test_what_is_not_offered_makes_no_token(admin, bad):
    assert admin.post(reverse("connect"), CHOSEN | bad).status_code == 422
    assert not AgentToken.objects.exists()


def test_it_turns_green_with_the_first_heartbeat(admin):
    token, _secret, live = made(admin)
    session = SessionFactory(token=token)
    assert 'data-stage="silent"' in seen(admin, live)
    assert "no heartbeat came from it yet" in seen(admin, live, waited_s=61)

    session.instance.last_heartbeat_started_at = timezone.now()
    session.instance.save()

    page = seen(admin, live)
    assert 'data-stage="green"' in page
    assert f"/admin/agents/instance/{session.instance_id}/change/" in page


def test_it_waits_for_a_minute_before_it_says_that_nothing_came(admin):
    _token, _secret, live = made(admin)

    assert "Waiting for the agent" in seen(admin, live, waited_s=50)
    assert "Nothing has arrived at this address" in seen(admin, live, waited_s=61)


@pytest.mark.parametrize(
    ("shown", "more", "told"),
    [
        (lambda secret: "", {}, "it showed none"),
        (lambda secret: "oat_of_somebody", {}, "nobody here has made it"),
        (lambda secret: secret[:20], {}, "cut or changed"),
        (lambda secret: secret, {"cause": "environment"}, "Wrong environment"),
        (lambda secret: secret, {"cause": "hello"}, "its hello was refused"),
    ],
)
def test_what_was_refused_is_said(admin, shown, more, told):
    from agents.services.refusals import Cause

    _token, secret, live = made(admin)
    refuse(shown(secret), **{name: Cause(value) for name, value in more.items()})

    page = seen(admin, live, waited_s=61)

    assert told in re.search(r"data-told>([^<]+)", page)[1]
    assert "10.0.0.7" in page
    assert secret not in str(list(Event.objects.values_list("meta", "message")))


def test_revoked_expired_and_another_dialect_are_told_apart(admin):
    token, secret, live = made(admin)
    record_refusal(dialect="argus", peer_address="10.0.0.8", reason="Told.", secret=secret)
    assert "another dialect" in seen(admin, live)

    AgentToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    refuse(secret)
    assert "it has expired" in seen(admin, live)

    revoke_agent_token(token, actor=SYSTEM)
    refuse(secret)
    assert "it was revoked" in seen(admin, live)


def test_refusals_of_somebody_elses_token_are_not_shown(admin):
    _other, others_secret, _live = made(admin, name="other")
    _token, _secret, live = made(admin)
    from agents.services.refusals import Cause

    refuse(others_secret, cause=Cause.ENVIRONMENT)

    assert "10.0.0.7" not in seen(admin, live)


def test_a_node_is_registered_without_a_token_where_none_is_asked_for(admin, settings):
    settings.AUTH_MODE = "disabled"

    page = text_of(admin.post(reverse("connect"), CHOSEN | {"dialect": "argus"}))

    assert "/api/v1/master/nodes" in page
    assert "Bearer" not in page
    assert not AgentToken.objects.exists()


@pytest.mark.parametrize(
    "query", ["", "?dialect=x&since=1", "?dialect=onestep&since=nan", "?dialect=onestep&since=1e99"]
)
def test_a_nonsense_question_is_not_found(admin, query):
    assert admin.get(reverse("connect_live") + query).status_code == 404


@pytest.mark.parametrize("count", [1, 3])
def test_looking_costs_the_same(admin, count, django_assert_max_num_queries):
    token, secret, live = made(admin)
    for _ in range(count):
        SessionFactory(token=token, instance=InstanceFactory(online=True))
        refuse(secret)

    with django_assert_max_num_queries(9):
        admin.get(live)
