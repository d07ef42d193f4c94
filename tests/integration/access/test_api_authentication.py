"""Who is let in: nobody, tokens, sessions."""

import time
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Command
from controlplane.access.models import ApiToken
from controlplane.access.policy import LOGGED_IN_AT_KEY
from controlplane.access.services import create_api_token, revoke_api_token
from controlplane.common.actors import SYSTEM
from tests.factories import ApiTokenFactory, SessionFactory
from tests.integration.api_client import Api, api_as, api_in_session, user_in

pytestmark = pytest.mark.django_db
NOBODY = {"detail": "authentication required"}
UNKNOWN_TOKEN = {"detail": "the API token is unknown, revoked or expired"}


def with_secret(secret):
    return Api(headers={"Authorization": f"Bearer {secret}"})


def test_nobody_is_asked_to_log_in():
    response = Api().get("services")

    assert (response.status_code, response.json()) == (401, NOBODY)
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_nobody_learns_nothing_about_a_request_that_is_wrong_as_well():
    response = Api().post("instances/not-a-uuid/commands", {"kind": "no such"})

    assert (response.status_code, response.json()) == (401, NOBODY)


def test_token_lets_its_user_in():
    assert api_as("viewer").get("services").status_code == 200


def test_scheme_is_read_in_any_case():
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("viewer"))

    assert Api(headers={"Authorization": f"bearer {secret}"}).get("services").status_code == 200


@pytest.mark.parametrize("secret", ["opt_unknown", "oat_agent_token", "", "opt_", "ü\x7f", "opt_ü"])
def test_wrong_bearer_is_refused(secret):
    response = with_secret(secret).get("services")

    assert (response.status_code, response.json()) == (401, UNKNOWN_TOKEN)


def test_wrong_bearer_is_refused_beside_a_good_session():
    api = api_in_session("viewer")
    api.headers = {"Authorization": "Bearer opt_unknown"}

    assert api.get("services").status_code == 401


def test_a_program_has_no_session_beside_its_token():
    api = api_in_session("viewer")
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("operator"))
    api.headers = {"Authorization": f"Bearer {secret}"}

    response = api.get("services")

    assert response.status_code == 200
    assert not {"session", "htmx", "_messages"} & vars(response.wsgi_request).keys()
    assert "Cookie" not in response.get("Vary", "")


def test_a_bearer_is_never_helped_by_a_better_session():
    instance = SessionFactory().instance
    api = api_in_session("admin")
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("viewer"), scope="admin")

    for bearer, status in (("opt_unknown", 401), (secret, 403)):
        api.headers = {"Authorization": f"Bearer {bearer}"}
        assert api.post(f"instances/{instance.pk}/commands", {"kind": "ping"}).status_code == status
    assert not Command.objects.exists()


def test_a_page_takes_no_notice_of_a_bearer(client):
    client.force_login(user_in("admin", is_staff=True))

    assert client.get("/admin/", headers={"Authorization": "Bearer opt_unknown"}).status_code == 200


def test_another_scheme_leaves_the_session_alone():
    api = api_in_session("viewer")
    api.headers = {"Authorization": "Basic dTpw"}

    assert api.get("services").status_code == 200


def test_revoked_token_is_refused():
    token, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("viewer"))

    assert revoke_api_token(token, actor=SYSTEM) is True
    assert revoke_api_token(token, actor=SYSTEM) is False

    assert with_secret(secret).get("services").json() == UNKNOWN_TOKEN


def test_expired_token_is_refused():
    _, secret = create_api_token(
        actor=SYSTEM, name="t", user=user_in("viewer"), expires_at=timezone.now() - timedelta(microseconds=1)
    )

    assert with_secret(secret).get("services").json() == UNKNOWN_TOKEN


def test_token_of_an_inactive_user_is_refused():
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("viewer", is_active=False))

    assert with_secret(secret).get("services").json() == UNKNOWN_TOKEN


def test_only_a_hash_of_the_secret_is_kept():
    token, secret = create_api_token(actor=SYSTEM, name="t", user=user_in("viewer"), scope="command")

    stored = ApiToken.objects.get(pk=token.pk)

    assert secret.startswith("opt_")
    assert len(secret) > 40
    assert stored.prefix == secret[:12]
    assert secret not in {str(value) for value in vars(stored).values()}


def test_use_of_a_token_is_noted_once_a_minute():
    user = user_in("viewer")
    token = ApiTokenFactory(user=user, secret="opt_known")

    with_secret("opt_known").get("services")
    first = ApiToken.objects.get(pk=token.pk).last_used_at
    with_secret("opt_known").get("services")
    second = ApiToken.objects.get(pk=token.pk).last_used_at
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=first - timedelta(seconds=61))
    with_secret("opt_known").get("services")
    third = ApiToken.objects.get(pk=token.pk).last_used_at

    assert first == second
    assert third > first


def test_user_without_a_role_may_read_nothing():
    response = api_as(None).get("services")

    assert (response.status_code, response.json()) == (403, {"detail": "insufficient role"})


def test_superuser_needs_no_group():
    user = user_in(None, is_superuser=True)
    _, secret = create_api_token(actor=SYSTEM, name="t", user=user, scope="admin")

    assert with_secret(secret).get("services").status_code == 200


def test_token_post_needs_no_csrf_token():
    api = api_as("operator")
    api.client = Client(enforce_csrf_checks=True)
    instance = SessionFactory().instance

    assert api.post(f"instances/{instance.pk}/commands", {"kind": "ping"}).status_code == 200


def age_login(api, seconds):
    session = api.client.session
    session[LOGGED_IN_AT_KEY] = time.time() - seconds
    session.save()


STOP = {"kind": "shutdown", "reason": "maintenance"}


def test_admin_with_a_fresh_login_may_stop_an_instance():
    api = api_in_session("admin")

    assert api.post(f"instances/{SessionFactory().instance_id}/commands", STOP).status_code == 200


def test_login_just_within_the_window_is_fresh(settings):
    api = api_in_session("admin")
    age_login(api, settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S - 30)

    assert api.post(f"instances/{SessionFactory().instance_id}/commands", STOP).status_code == 200


def test_old_login_must_be_renewed_for_a_destructive_command(settings):
    api = api_in_session("admin")
    age_login(api, settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S)

    response = api.post(f"instances/{SessionFactory().instance_id}/commands", STOP)

    assert response.status_code == 401
    assert response.json() == {"detail": "recent authentication required for destructive commands"}


def test_login_on_another_device_does_not_renew_this_one(settings):
    api = api_in_session("admin")
    age_login(api, settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S + 1)
    Client().force_login(api.client.get("/admin/").wsgi_request.user)

    assert api.post(f"instances/{SessionFactory().instance_id}/commands", STOP).status_code == 401


def test_old_login_suffices_for_a_harmless_command(settings):
    api = api_in_session("admin")
    age_login(api, settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S + 1)

    assert api.post(f"instances/{SessionFactory().instance_id}/commands", {"kind": "ping"}).status_code == 200


def test_admin_scoped_token_needs_no_login_to_stop_an_instance():
    assert api_as("admin").post(f"instances/{SessionFactory().instance_id}/commands", STOP).status_code == 200


def test_old_login_is_asked_for_before_the_instance_is_looked_up(settings):
    api = api_in_session("admin")
    age_login(api, settings.CONSOLE_SENSITIVE_AUTH_WINDOW_S + 1)

    assert api.post(f"instances/{uuid.uuid4()}/commands", STOP).status_code == 401
