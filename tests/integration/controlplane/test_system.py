"""The pages System and Access, the report as file and by the API, and what they are made of."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from agents.models import RetentionResult, Session, TableSize
from agents.selectors.sizes import growth, sizes_now
from agents.services.sizes import SIZES_KEPT, measure_sizes, note_removed
from controlplane.access.models import ApiToken, ConsoleSession
from controlplane.access.roles import Role
from controlplane.access.services import create_api_token
from controlplane.access.table import Door
from controlplane.common import env
from controlplane.common.actors import SYSTEM as PORTAL
from controlplane.system.people import agent_token_uses
from controlplane.system.roles import role_summaries, subjects
from controlplane.system.words import size_words
from controlplane.tasks import clean_logins
from tasks_app.services.storage import apply_retention
from tests.factories import (
    AgentTokenFactory,
    ApiTokenFactory,
    BackgroundJobFactory,
    EventFactory,
    InstanceFactory,
    ReplicaFactory,
    SessionFactory,
    UserFactory,
)
from tests.integration.api_client import Api, api_as, user_in
from tests.integration.console import console_as, text_of
from tests.integration.controlplane.test_prometheus import published

pytestmark = pytest.mark.django_db
SYSTEM, LIVE, FILE = "/admin/system/", "/admin/system/live/", "/admin/system/report.json"
ACCESS = "/admin/access/"


# --- sizes


def test_every_table_is_measured_with_its_rows():
    for _ in range(3):
        InstanceFactory()

    sizes = {each.table: each for each in sizes_now()}

    assert sizes[""].size_bytes > 0
    tables = set(connection.introspection.table_names())
    assert set(sizes) - {""} <= tables
    # Partitions count for the table that they are parts of.
    assert {"agents_event", "agents_instance", "auth_user"} <= set(sizes)
    assert not [name for name in sizes if name.startswith("agents_event_w")]
    assert sizes["agents_event"].size_bytes > 0
    if connection.vendor == "sqlite":
        assert sizes["agents_instance"].rows == 3


def test_it_is_measured_once_an_hour_and_forgotten_after_a_while():
    now = timezone.now()
    old = TableSize.objects.create(taken_at=now - SIZES_KEPT - timedelta(minutes=1), table="", size_bytes=1)
    first = measure_sizes(now)
    again = measure_sizes(now + timedelta(minutes=59))
    next_hour = measure_sizes(now + timedelta(minutes=61))

    assert (first, again, next_hour) == (True, False, True)
    assert not TableSize.objects.filter(pk=old.pk).exists()
    assert TableSize.objects.filter(table="").count() == 2


def test_a_sample_of_a_wrong_clock_holds_nothing_up():
    now = timezone.now()
    TableSize.objects.create(taken_at=now + timedelta(days=3), table="", size_bytes=1)

    assert measure_sizes(now)


def sample(at, **sizes):
    for table, size in sizes.items():
        TableSize.objects.create(taken_at=at, table="" if table == "whole" else table, size_bytes=size, row_estimate=5)


def test_growth_is_told_per_day_and_since_when():
    now = timezone.now()
    sample(now - timedelta(days=8), whole=1, t=1)
    sample(now - timedelta(days=2), whole=1000, t=100)
    sample(now, whole=3000, t=500, fresh=7)

    told = [
        (each.table, each.size_bytes, each.since and (now - each.since).days, each.bytes_per_day)
        for each in growth(now)
    ]

    assert told == [("", 3000, 2, 1000.0), ("t", 500, 2, 200.0), ("fresh", 7, None, None)]


@pytest.mark.parametrize("minutes", [None, 29])
def test_growth_is_not_guessed(minutes):
    now = timezone.now()
    sample(now, whole=2)
    if minutes:
        sample(now - timedelta(minutes=minutes), whole=1)

    assert [(each.since, each.bytes_per_day) for each in growth(now)] == [(None, None)]


@pytest.mark.parametrize("count", [1, 3])
def test_growth_is_three_queries(django_assert_num_queries, count):
    now = timezone.now()
    for number in range(count):
        sample(now - timedelta(hours=number), whole=1, t=1)

    with django_assert_num_queries(3):
        growth(now)


# --- what retention removed


def test_what_retention_removed_is_counted():
    now = timezone.now()
    long_ago = now.replace(year=now.year - 3)
    EventFactory(occurred_at=long_ago, received_at=long_ago)
    EventFactory(occurred_at=long_ago, received_at=long_ago)
    apply_retention(now)
    EventFactory(occurred_at=long_ago, received_at=long_ago)
    apply_retention(now)

    result = RetentionResult.objects.get(setting="RETENTION_TASK_EVENTS_DAYS")

    assert (result.removed_rows, result.last_removed_rows) == (3, 1)


def test_what_removes_nothing_is_not_noted():
    note_removed("RETENTION_LOGINS_DAYS", 0)

    assert not RetentionResult.objects.exists()


def test_expired_sessions_of_the_console_are_counted():
    ConsoleSession.objects.create(session_key="a" * 64, session_data="", expire_date=timezone.now() - timedelta(days=1))

    clean_logins()

    assert RetentionResult.objects.get().setting == "RETENTION_LOGINS_DAYS"


# --- configuration


def test_secrets_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setattr(env, "_read", {})
    monkeypatch.setenv("X_PASSWORD", "s3cret-1")
    monkeypatch.setenv("X_TOKENS", "s3cret-2,s3cret-3")
    monkeypatch.setenv("X_URL", "https://ann:s3cret-4@example.com/x")
    monkeypatch.setenv("X_LIST", "redis://:s3cret-5@h/0,b")
    env.text("X_PASSWORD")
    env.items("X_TOKENS")
    env.text("X_URL")
    env.items("X_LIST")
    env.secret("X_UNSET_KEY")
    env.integer("X_LIMIT_TOKENS", 5)
    env.boolean("X_FLAG", default=True)

    told = {each.name: (each.value, each.is_set, each.is_secret) for each in env.variables()}

    assert told == {
        "X_FLAG": ("true", False, False),
        "X_LIMIT_TOKENS": ("5", False, False),
        "X_LIST": ("redis://***@h/0,b", True, False),
        "X_PASSWORD": ("***", True, True),
        "X_TOKENS": ("***", True, True),
        "X_UNSET_KEY": ("", False, True),
        "X_URL": ("https://***@example.com/x", True, False),
    }


def test_a_secret_from_a_file_is_one_that_is_set(monkeypatch, tmp_path):
    monkeypatch.setattr(env, "_read", {})
    (tmp_path / "key").write_text("s3cret")
    monkeypatch.setenv("X_KEY_FILE", str(tmp_path / "key"))

    assert env.secret("X_KEY") == "s3cret"
    assert [(each.value, each.is_set) for each in env.variables()] == [("***", True)]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (-3 * 1024**2, "-3.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
    ],
)
def test_sizes_in_words(count, words):
    assert size_words(count) == words


# --- the page System


@pytest.fixture
def web():
    return ReplicaFactory(kind="web", ingest=published(), last_seen_at=timezone.now())


def test_the_page_shows_what_each_process_published(web):
    page = text_of(console_as("admin").get(SYSTEM))

    for shown in (f"{web.host_id.partition('/')[0]}:{web.pid}", "2.5", ">11<", "30 ms"):
        assert shown in page, shown


def test_the_page_shows_jobs_retention_tables_and_configuration():
    BackgroundJobFactory(name="sweep-liveness", last_error="ValueError: no luck", last_failed_at=timezone.now())
    note_removed("RETENTION_AGENT_COMMANDS_DAYS", 4321)
    sample(timezone.now(), whole=5 * 1024**2, agents_event=2 * 1024**2)

    page = text_of(console_as("admin").get(SYSTEM))

    for shown in ("ValueError: no luck", "RETENTION_AGENT_COMMANDS_DAYS", "4321", "2.0 MiB", "INGEST_FLUSH_MS"):
        assert shown in page, shown


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize("path", [SYSTEM, LIVE, FILE, ACCESS, "/admin/access/live/"])
def test_only_administrators_see_them(role, path):
    assert console_as(role).get(path).status_code == 403


def test_the_live_part_is_the_element_that_it_replaces(web):
    part = text_of(console_as("admin").get(LIVE))

    assert part.strip().startswith('<div id="live-system"')
    assert "<html" not in part


def statements(client, path, django_assert_max_num_queries, at_most):
    with django_assert_max_num_queries(at_most) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_the_page_takes_as_many_statements_for_one_as_for_three(django_assert_max_num_queries):
    client = console_as("admin")
    counts = []
    for number in (1, 2):
        for _ in range(number):
            SessionFactory(replica=ReplicaFactory(kind="web", ingest=published(), last_seen_at=timezone.now()))
            AgentTokenFactory(expires_at=timezone.now() + timedelta(days=2))
            BackgroundJobFactory()
            UserFactory()
            sample(timezone.now() - timedelta(hours=number), whole=1, t=number)
        counts.append(statements(client, SYSTEM, django_assert_max_num_queries, 36))

    assert counts[0] == counts[1]


def test_the_file_holds_everything_and_no_secret(web, settings):
    client = console_as("admin")

    answer = client.get(FILE)

    told = json.loads(answer.content)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert set(told) == {
        "at", "versions", "up_since", "findings", "processes", "servers", "jobs", "tables", "disks", "retention",
        "configuration",
    }  # fmt: skip
    text = answer.content.decode()
    assert settings.SECRET_KEY not in text
    password = settings.DATABASES["default"].get("PASSWORD")
    assert not password or password not in text
    hidden = {each["name"]: each["value"] for each in told["configuration"] if each["is_secret"]}
    assert set(hidden.values()) <= {"", "***"}
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "INGEST_TOKENS"} <= set(hidden)


def test_the_same_by_the_api(web):
    answer = api_as("admin").get("system")

    told = answer.json()
    (process,) = told["processes"]
    assert (process["connections"], process["streams"], process["frames_per_s"], process["waiting"]) == (11, 2, 2.5, 3)
    assert {each["code"] for each in told["findings"]} >= {"no_worker", "no_beat"}
    assert [each["name"] for each in told["servers"]] == ["database", "redis", "channels", "broker"]


def test_a_schedule_that_never_comes_is_told_and_breaks_nothing():
    never = CrontabSchedule.objects.create(minute="0", hour="0", day_of_month="30", month_of_year="2")
    PeriodicTask.objects.create(name="on the 30th of February", task="x", crontab=never)

    assert console_as("admin").get(SYSTEM).status_code == 200
    told = {each["name"]: each for each in api_as("admin").get("system").json()["jobs"]}
    job = told["on the 30th of February"]
    assert (job["state"], job["next_at"], "never occurs" in job["last_error"]) == ("failing", None, True)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_the_api_tells_administrators_alone(role):
    assert api_as(role).get("system").status_code == 403


def test_the_api_tells_no_token_of_some_environments():
    _token, secret = create_api_token(
        actor=PORTAL, name="dev", user=user_in("admin"), scope=ApiToken.Scope.ADMIN, environments=["dev"]
    )
    answer = Api(headers={"Authorization": f"Bearer {secret}"}).get("system")

    assert (answer.status_code, "narrowed" in answer.json()["detail"]) == (403, True)


# --- the page Access


def test_tokens_of_agents_are_told_with_who_used_them_last():
    token = AgentTokenFactory(last_used_at=timezone.now())
    now = timezone.now()
    for minutes, address, status in (
        (9, "10.0.0.1", "active"),
        (5, "10.0.0.2", "active"),
        (7, "10.0.0.3", "superseded"),
    ):
        SessionFactory(
            instance=InstanceFactory(agent_version="1.4.2"),
            token=token,
            status=status,
            peer_address=address,
            connected_at=now - timedelta(minutes=minutes),
        )

    (use,) = agent_token_uses(now)

    assert (use.sessions, use.last.address, use.last.agent_version) == (2, "10.0.0.2", "1.4.2")
    page = text_of(console_as("admin").get(ACCESS))
    assert "10.0.0.2" in page
    assert "1.4.2" in page


@pytest.mark.needs_postgres
def test_who_used_a_token_last_is_read_from_an_index():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")

    plan = Session.objects.filter(token=AgentTokenFactory()).order_by("-connected_at", "-id").values("pk")[:1].explain()

    assert "session_token_newest" in plan
    assert "Sort" not in plan


def test_an_api_token_is_told_with_when_and_from_where_it_was_used():
    api = api_as("viewer")
    api.get("services")

    token = ApiToken.objects.get()

    assert token.last_used_at is not None
    assert token.last_used_from == "127.0.0.1"
    assert "127.0.0.1" in text_of(console_as("admin").get(ACCESS))


def test_users_are_told_with_roles_sessions_tokens_and_failures(client):
    user = UserFactory(username="ann", role="operator", password="right-Passw0rd-1")
    ApiTokenFactory(user=user)
    client.post("/admin/login/", {"username": "ann", "password": "wrong"})

    page = console_as("admin").get(ACCESS)

    (ann,) = [each for each in page.context["people"] if each["user"].username == "ann"]
    assert (ann["roles"], ann["row"].tokens, ann["row"].failures, ann["row"].sessions) == ("Operator", 1, 1, 0)
    assert page.context["figures"].failures == 1


def test_what_expires_or_was_never_used_is_marked():
    AgentTokenFactory(name="soon", expires_at=timezone.now() + timedelta(days=3))
    never = AgentTokenFactory(name="never")
    type(never).objects.filter(pk=never.pk).update(created_at=timezone.now() - timedelta(days=40))

    page = console_as("admin").get(ACCESS)

    assert (page.context["figures"].expiring, page.context["figures"].unused) == (1, 1)
    assert "Expires soon" in text_of(page)
    assert "Never used" in text_of(page)


@pytest.mark.parametrize(("use", "expected"), [("never", {"new", "soon"}), ("idle", {"idle"}), ("expiring", {"soon"})])
def test_lists_of_tokens_can_be_narrowed_by_their_use(use, expected):
    now = timezone.now()
    AgentTokenFactory(name="new")
    AgentTokenFactory(name="soon", expires_at=now + timedelta(days=13))
    AgentTokenFactory(name="idle", last_used_at=now - timedelta(days=31))
    AgentTokenFactory(name="busy", last_used_at=now, expires_at=now + timedelta(days=15))
    AgentTokenFactory(name="gone", revoked_at=now)

    page = console_as("admin").get("/admin/agents/agenttoken/", {"use": use})

    assert {token.name for token in page.context["cl"].result_list} == expected


def test_several_are_revoked_at_once_and_the_consequence_is_told_before():
    tokens = [AgentTokenFactory(), AgentTokenFactory()]
    for token in (tokens[0], tokens[0], tokens[1]):
        SessionFactory(token=token)
    client = console_as("admin")
    chosen = {"action": "revoke_selected", "_selected_action": [token.pk for token in tokens]}

    asked = client.post("/admin/agents/agenttoken/", chosen)
    still = [type(token).objects.get(pk=token.pk).revoked_at for token in tokens]
    client.post("/admin/agents/agenttoken/", chosen | {"confirm": "1"})

    assert "3 open sessions will be cut." in text_of(asked)
    assert still == [None, None]
    assert all(type(token).objects.get(pk=token.pk).revoked_at for token in tokens)


def test_the_page_of_a_token_tells_how_many_sessions_end_with_it():
    token = AgentTokenFactory()
    SessionFactory(token=token)

    page = text_of(console_as("admin").get(f"/admin/agents/agenttoken/{token.pk}/change/"))

    assert "1 open session will be cut." in page


def test_access_takes_as_many_statements_for_one_as_for_three(django_assert_max_num_queries):
    client = console_as("admin")
    counts = []
    for number in (1, 2):
        for _ in range(number):
            SessionFactory(token=AgentTokenFactory())
            ApiTokenFactory(user=UserFactory(role="viewer"))
        counts.append(statements(client, ACCESS, django_assert_max_num_queries, 32))

    assert counts[0] == counts[1]


def test_roles_are_told_from_the_permission_table():
    words = {each["rule"]: each for each in role_summaries()}
    of = {rule: {subject.label: told for subject, told in each["adds"]} for rule, each in words.items()}

    assert of[Role.VIEWER]["agents.instance"][0] == "see"
    assert "send commands" in of[Role.OPERATOR]["agents.instance"]
    assert "forget" in of[Role.ADMIN]["agents.instance"]
    assert "delete" in of[Door.SUPERUSER]["auth.user"]
    assert "GET /api/v1/system" in words[Role.ADMIN]["calls"]


def test_every_right_of_the_table_stands_in_the_words_of_some_role():
    told = {each["rule"] for each in role_summaries()}

    for subject in subjects():
        rules = {*subject.verbs.values(), *(right.least for right in subject.rights)}
        assert rules <= told | {Door.NOBODY, Door.STAFF}, subject.label


def test_whoever_may_log_in_reads_what_roles_may_do():
    page = text_of(console_as("viewer").get("/admin/access/roles/"))

    assert "Operator" in page
    assert "send commands" in page
