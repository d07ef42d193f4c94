"""What people and programs change becomes history: who, from where, before and after, in one transaction with it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from agents.models import AgentToken, Event
from agents.selectors.events import changes_of
from controlplane.access import login_events
from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token, revoke_api_token
from controlplane.common import changes
from controlplane.common.actors import Actor
from controlplane.common.changes import subject_of
from tests.factories import CommandFactory, SessionFactory, UserFactory
from tests.integration.access.test_admin import user_form
from tests.integration.api_client import api_as
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db

PASSWORD = "n3w-Passw0rd"


def told(event):
    """All but the time: kind, who, what, and the details without the address."""
    assert event.meta.pop("address") == "127.0.0.1"
    return event.kind, event.actor, event.subject, event.message, event.meta


def the_change():
    (event,) = Event.objects.all()
    return told(event)


def schedule(**fields):
    interval = IntervalSchedule.objects.create(every=1, period="days")
    return PeriodicTask.objects.create(name="nightly", task="agents.sweep", interval=interval, **fields)


# --- people and groups


def test_changed_user_is_told_field_by_field_and_with_the_names_of_groups():
    client = console_as("admin", username="root")
    user = UserFactory(username="ann", role="viewer")
    operator = Group.objects.get(name="operator")

    client.post(url("auth_user_change", user.pk), user_form(user, first_name="Ann", groups=[operator.pk]))

    kind, actor, subject, message, meta = the_change()
    assert (kind, actor, subject, message) == ("object.changed", "root", f"auth.user:{user.pk}", "ann")
    assert meta["via"] == "console"
    assert meta["before"] == {"first_name": "", "groups": ["viewer"]}
    assert meta["after"] == {"first_name": "Ann", "groups": ["operator"]}


def test_form_that_changes_nothing_writes_no_event():
    client = console_as("superuser")
    group = Group.objects.create(name="team")

    client.post(url("auth_group_change", group.pk), {"name": "team", "permissions": []})

    assert not Event.objects.exists()


def test_added_user_is_told_without_the_password():
    console_as("admin", username="root").post(
        url("auth_user_add"), {"username": "otto", "password1": PASSWORD, "password2": PASSWORD, "is_staff": "on"}
    )

    kind, actor, _subject, message, meta = the_change()
    assert (kind, actor, message) == ("object.created", "root", "otto")
    assert meta["withheld"] == ["password"]
    assert meta["after"]["username"] == "otto"
    assert User.objects.get(username="otto").password not in str(meta)


@pytest.mark.parametrize("own", [False, True])
def test_changed_password_is_said_and_never_told(own):
    client = console_as("superuser", username="root")
    if own:
        user = client.person
        data = {"old_password": "password", "new_password1": PASSWORD, "new_password2": PASSWORD}
        response = client.post(reverse("admin:password_change"), data)
    else:
        user = UserFactory()
        data = {"password1": PASSWORD, "password2": PASSWORD}
        response = client.post(url("auth_user_password_change", user.pk), data)

    assert response.status_code == 302
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert the_change() == (
        "object.changed",
        "root",
        subject_of(user),
        user.username,
        {"via": "console", "withheld": ["password"]},
    )


def test_refused_password_writes_no_event():
    client = console_as("viewer")

    page = client.post(
        reverse("admin:password_change"), {"old_password": "wrong", "new_password1": "a", "new_password2": "a"}
    )

    assert page.status_code == 200
    assert not Event.objects.exists()


def test_users_deleted_by_an_action_are_told_one_by_one():
    users = UserFactory.create_batch(2)

    console_as("superuser").post(
        url("auth_user_changelist"),
        {"action": "delete_selected", "_selected_action": [user.pk for user in users], "post": "yes"},
    )

    assert {event.message for event in Event.objects.filter(kind="object.deleted")} == {user.username for user in users}


# --- tokens


@pytest.mark.parametrize(
    ("view", "model", "more"), [("agents_agenttoken", AgentToken, {}), ("access_apitoken", ApiToken, {"scope": "read"})]
)
def test_tokens_are_told_when_made_and_when_revoked(view, model, more):
    client = console_as("admin", username="root")
    data = {"name": "ci", "user": client.person.pk, "environments": ["prod"], **more}

    client.post(url(f"{view}_add"), data)
    token = model.objects.get()
    client.post(url(f"{view}_revoke", token.pk))

    made, revoked = (told(event) for event in Event.objects.order_by("id"))
    assert made[:4] == ("token.created", "root", subject_of(token), "ci")
    assert made[4]["after"]["environments"] == ["prod"]
    assert revoked == ("token.revoked", "root", subject_of(token), "ci", {"via": "console"})
    assert token.secret_hash not in str(list(Event.objects.values()))


# --- schedules


@pytest.mark.parametrize(
    ("action", "enabled", "becomes"),
    [("enable_tasks", False, True), ("disable_tasks", True, False), ("toggle_tasks", True, False)],
)
def test_actions_on_schedules_are_told(action, enabled, becomes):
    task = schedule(enabled=enabled)

    console_as("superuser").post(
        url("django_celery_beat_periodictask_changelist"), {"action": action, "_selected_action": [task.pk]}
    )

    kind, _actor, subject, _name, meta = the_change()
    assert (kind, subject) == ("object.changed", f"django_celery_beat.periodictask:{task.pk}")
    assert (meta["before"], meta["after"]) == ({"enabled": enabled}, {"enabled": becomes})


def test_action_that_changes_nothing_writes_no_event():
    task = schedule(enabled=True)

    console_as("superuser").post(
        url("django_celery_beat_periodictask_changelist"), {"action": "enable_tasks", "_selected_action": [task.pk]}
    )

    assert not Event.objects.exists()


def test_schedule_that_cannot_run_is_not_said_to_have_run():
    task = schedule()
    PeriodicTask.objects.update(task="no.such.task")

    console_as("superuser").post(
        url("django_celery_beat_periodictask_changelist"), {"action": "run_tasks", "_selected_action": [task.pk]}
    )

    assert not Event.objects.exists()


def test_schedules_go_with_the_interval_they_hang_on():
    task = schedule()

    console_as("superuser").post(url("django_celery_beat_intervalschedule_delete", task.interval_id), {"post": "yes"})

    assert {event.subject.partition(":")[0] for event in Event.objects.all()} == {
        "django_celery_beat.periodictask",
        "django_celery_beat.intervalschedule",
    }


# --- commands


def test_command_by_a_token_tells_the_user_the_token_and_the_address():
    session = SessionFactory()
    api = api_as("operator")
    token = ApiToken.objects.get()

    api.post(f"instances/{session.instance_id}/commands", {"kind": "ping"})

    event = Event.objects.get(kind="command.queued")
    assert event.actor == token.user.username
    assert event.meta == {"address": "127.0.0.1", "via": "api", "token": token.name}


def test_cancel_on_the_console_tells_who_and_from_where():
    command = CommandFactory()
    client = console_as("operator")

    client.post(url("agents_command_cancel", command.pk), REMOTE_ADDR="203.0.113.9")

    event = Event.objects.get(kind="command.cancelled")
    assert event.actor == client.person.username
    assert event.meta == {"address": "203.0.113.9", "via": "console"}


# --- logins


@pytest.fixture
def unbounded(monkeypatch):
    monkeypatch.setattr(login_events, "_refused", login_events.TokenBucket(per_s=1, burst=1000, now=0))


def log_in(client, username, password):
    return client.post(reverse("admin:login"), {"username": username, "password": password})


def test_login_and_logout_are_told():
    user = UserFactory(username="ann")
    client = Client()

    log_in(client, "ann", "password")
    client.post(reverse("admin:logout"))

    events = [told(event) for event in Event.objects.order_by("id")]
    assert events == [
        (kind, "ann", f"auth.user:{user.pk}", "ann", {"via": "console"}) for kind in ("login.succeeded", "login.ended")
    ]


@pytest.mark.parametrize("spelling", ["ann", "ANN "])
def test_refused_login_tells_whose_it_was_and_no_actor(unbounded, spelling):
    user = UserFactory(username="ann")

    log_in(Client(), spelling, "wrong-password")

    assert the_change() == ("login.failed", "", f"auth.user:{user.pk}", "ann", {"via": "console"})


def test_what_a_stranger_typed_is_not_kept(unbounded):
    log_in(Client(), "my-secret-password", "x")

    assert the_change() == ("login.failed", "", "auth.user:", "", {"via": "console"})


def test_page_of_a_refused_login_says_that_nobody_has_that_name_and_leads_to_those_who_tried(unbounded):
    log_in(Client(), "stranger", "x")

    page = text_of(console_as("admin").get(url("agents_event_change", Event.objects.get(kind="login.failed").pk)))

    assert "nobody of that name" in page
    assert page.count(f'href="{url("access_failedlogin_changelist")}"') == 2


def test_lockout_is_told(unbounded, settings):
    settings.CONSOLE_LOGIN_MAX_FAILURES = 2
    user = UserFactory(username="ann")
    body = {"username": "ann", "password": "wrong"}

    for _ in range(3):
        Client().post("/api/v1/auth/login", body, "application/json")

    events = [told(event) for event in Event.objects.order_by("id")]
    assert events == [
        (kind, "", f"auth.user:{user.pk}", "ann", {"via": "api"})
        for kind in ("login.failed", "login.failed", "login.locked")
    ]


@pytest.mark.parametrize("username", [None, 7, "\x00", "x" * 10_000, "\ud800"])
def test_odd_names_of_strangers_do_no_harm(unbounded, rf, username):
    login_events.note_refused_login(sender=None, credentials={"username": username}, request=rf.post("/admin/login/"))

    assert the_change()[:2] == ("login.failed", "")


def test_strangers_cannot_fill_the_history(monkeypatch):
    monkeypatch.setattr(
        login_events, "_refused", login_events.TokenBucket(per_s=0.001, burst=2, now=login_events.time.monotonic())
    )

    for _ in range(4):
        log_in(Client(), "nobody", "x")

    assert Event.objects.filter(kind="login.failed").count() == 2


# --- in one transaction


def test_change_that_is_rolled_back_leaves_no_event():
    class Undo(Exception):
        pass

    @transaction.atomic
    def make_and_fail():
        token, _secret = create_api_token(name="ci", user=UserFactory(), actor=Actor("root"))
        revoke_api_token(token, actor=Actor("root"))
        raise Undo

    with pytest.raises(Undo):
        make_and_fail()

    assert not Event.objects.exists()
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("page", ["change", "delete", "password", "own", "token", "action"])
def test_change_whose_event_cannot_be_written_is_not_made(page, monkeypatch):
    def fail(_changes):
        raise RuntimeError("no history")

    client = console_as("superuser")
    client.raise_request_exception = False
    user, task = UserFactory(first_name="old"), schedule(enabled=False)
    before = rows()
    monkeypatch.setattr(changes, "_recorders", [fail])

    response = {
        "change": lambda: client.post(url("auth_user_change", user.pk), user_form(user, first_name="new")),
        "delete": lambda: client.post(url("auth_user_delete", user.pk), {"post": "yes"}),
        "password": lambda: client.post(
            url("auth_user_password_change", user.pk), {"password1": PASSWORD, "password2": PASSWORD}
        ),
        "own": lambda: client.post(
            reverse("admin:password_change"),
            {"old_password": "password", "new_password1": PASSWORD, "new_password2": PASSWORD},
        ),
        "token": lambda: client.post(url("access_apitoken_add"), {"name": "t", "user": user.pk, "scope": "read"}),
        "action": lambda: client.post(
            url("django_celery_beat_periodictask_changelist"),
            {"action": "enable_tasks", "_selected_action": [task.pk]},
        ),
    }[page]()

    assert response.status_code == 500
    assert rows() == before


def rows():
    fields = ("pk", "first_name", "password")
    return (
        list(User.objects.order_by("pk").values(*fields)),
        list(PeriodicTask.objects.values_list("enabled", flat=True)),
        ApiToken.objects.count(),
    )


@pytest.mark.django_db(transaction=True)
def test_of_changes_at_once_each_tells_what_it_really_replaced():
    group = Group.objects.create(name="zero")
    names = ("one", "two", "three", "four")
    clients = [console_as("superuser") for _ in names]
    barrier = threading.Barrier(len(names))

    def rename(client, name):
        barrier.wait()
        client.post(url("auth_group_change", group.pk), {"name": name, "permissions": []})
        connection.close()

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(rename, clients, names))

    steps = {event.meta["before"]["name"]: event.meta["after"]["name"] for event in changes_of(subject_of(group))}
    way = ["zero"]
    while way[-1] in steps:
        way.append(steps.pop(way[-1]))
    assert sorted(way) == sorted(("zero", *names))


@pytest.mark.needs_postgres
def test_the_column_is_added_without_rewriting_a_partition():
    loader = MigrationLoader(connection)
    (operation,) = loader.get_migration("agents", "0022_event_subject").operations
    before, after = (
        loader.project_state(("agents", name)) for name in ("0021_index_sessions_of_services", "0022_event_subject")
    )
    with connection.schema_editor() as editor:
        operation.database_backwards("agents", editor, after, before)
        files = files_of_events()

        operation.database_forwards("agents", editor, before, after)

        assert files_of_events() == files


def files_of_events():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text, pg_relation_filenode(inhrelid) FROM pg_inherits "
            "WHERE inhparent = 'agents_event'::regclass"
        )
        return dict(cursor.fetchall())


# --- every admin


def post_data(page):
    """What the browser would send back for the form of a page."""
    form = page.context["adminform"].form
    data = {}
    for name in form.fields:
        widget, value = form.fields[name].widget, form[name].value()
        if hasattr(widget, "decompress"):
            for number, part in enumerate(widget.decompress(value)):
                data[f"{name}_{number}"] = "" if part is None else str(part)
        elif isinstance(value, bool):
            data |= {name: "on"} if value else {}
        elif value is not None:
            data[name] = value
    for formset in page.context.get("inline_admin_formsets", []):
        management = formset.formset.management_form
        data |= {management.add_prefix(name): management[name].value() for name in management.fields}
    return data


ADDED = {
    "auth.user": {"username": "otto", "password1": PASSWORD, "password2": PASSWORD},
    "auth.group": {"name": "team"},
    "access.apitoken": {"name": "ci"},
    "agents.agenttoken": {"name": "ci"},
    "agents.group": {"name": "racks", "selector": "rack"},
    "django_celery_beat.intervalschedule": {"every": 7, "period": "days"},
    "django_celery_beat.crontabschedule": {"minute": "7"},
    "django_celery_beat.solarschedule": {"event": "dusk_civil", "latitude": "7", "longitude": "7"},
    "django_celery_beat.clockedschedule": {"clocked_time_0": "2031-01-01", "clocked_time_1": "00:00:00"},
    "django_celery_beat.periodictask": {"name": "nightly", "task": "some.task"},
}
CHANGED = {
    "auth.user": {"first_name": "new"},
    "auth.group": {"name": "crew"},
    "agents.group": {"selector": "rack=7"},
    "django_celery_beat.intervalschedule": {"every": 8},
    "django_celery_beat.crontabschedule": {"minute": "8"},
    "django_celery_beat.solarschedule": {"latitude": "8"},
    "django_celery_beat.clockedschedule": {"clocked_time_0": "2032-01-01"},
    "django_celery_beat.periodictask": {"description": "new"},
}


def admins(permission):
    """The labels of the admins that let a superuser do so."""
    request = type("Request", (), {"user": User(is_superuser=True, is_active=True, is_staff=True)})()
    return sorted(
        model._meta.label_lower
        for model, model_admin in admin.site._registry.items()
        if getattr(model_admin, f"has_{permission}_permission")(request)
    )


def add(client, label):
    """Add a row through the form of its admin; returns it."""
    view = label.replace(".", "_")
    data = post_data(client.get(url(f"{view}_add"))) | ADDED[label]
    if label == "access.apitoken":
        data["user"] = client.person.pk
    if label == "django_celery_beat.periodictask":
        data["interval"] = IntervalSchedule.objects.create(every=1, period="days").pk
    response = client.post(url(f"{view}_add"), data)
    assert response.status_code == (200 if "token" in label else 302), response.context["adminform"].form.errors
    return next(model for model in admin.site._registry if model._meta.label_lower == label).objects.latest("pk")


@pytest.mark.parametrize("label", admins("add"))
def test_every_admin_tells_what_is_added(label):
    client = console_as("superuser")

    row = add(client, label)

    (event,) = Event.objects.all()
    assert (event.subject, event.actor) == (subject_of(row), client.person.username)
    assert event.meta["after"]


@pytest.mark.parametrize("label", admins("change"))
def test_every_admin_tells_what_is_changed(label):
    client = console_as("superuser")
    row = add(client, label)
    Event.objects.all().delete()
    page = url(f"{label.replace('.', '_')}_change", row.pk)

    response = client.post(page, post_data(client.get(page)) | CHANGED[label])

    assert response.status_code == 302, response.context["adminform"].form.errors
    (event,) = Event.objects.all()
    assert (event.kind, event.subject, event.actor) == ("object.changed", subject_of(row), client.person.username)
    assert set(event.meta["after"]) == {name.removesuffix("_0") for name in CHANGED[label]}


@pytest.mark.parametrize("label", admins("delete"))
def test_every_admin_tells_what_is_deleted(label):
    client = console_as("superuser")
    row = add(client, label)
    subject = subject_of(row)
    Event.objects.all().delete()

    client.post(url(f"{label.replace('.', '_')}_delete", row.pk), {"post": "yes"})

    (event,) = Event.objects.all()
    assert (event.kind, event.subject, event.actor) == ("object.deleted", subject, client.person.username)


def test_no_admin_edits_rows_inline():
    """Rows of inlines would be saved past the hooks."""
    request = type("Request", (), {"user": User(is_superuser=True, is_active=True, is_staff=True)})()
    editable = [
        inline
        for model_admin in admin.site._registry.values()
        for inline in model_admin.get_inline_instances(request)
        if isinstance(inline, InlineModelAdmin)
        and set(inline.get_fields(request) or ()) - set(inline.get_readonly_fields(request))
    ]

    assert editable == []


def test_django_writes_no_history_of_its_own():
    client = console_as("superuser")
    group = Group.objects.create(name="team")

    client.post(url("auth_group_change", group.pk), {"name": "crew", "permissions": []})
    client.post(url("auth_group_delete", group.pk), {"post": "yes"})

    assert Event.objects.count() == 2
    assert not LogEntry.objects.exists()


# --- shown


def test_form_shows_its_changes_newest_first_and_leads_to_all_events():
    client = console_as("superuser", username="root")
    group = Group.objects.create(name="zero")
    for name in ("one", "two"):
        client.post(url("auth_group_change", group.pk), {"name": name, "permissions": []})

    page = text_of(client.get(url("auth_group_change", group.pk)))

    assert page.index("one → two") < page.index("zero → one")
    assert "by root" in page
    assert "console · 127.0.0.1" in page
    assert f"{url('agents_event_changelist')}?subject=auth.group%3A{group.pk}" in page


def test_history_of_a_row_is_its_events():
    client = console_as("superuser")
    group = Group.objects.create(name="zero")

    response = client.get(url("auth_group_history", group.pk))

    assert response.url == f"{url('agents_event_changelist')}?subject=auth.group%3A{group.pk}"
    assert client.get(response.url).status_code == 200


def test_event_page_tells_before_and_after_in_words():
    client = console_as("superuser")
    user = UserFactory(username="ann")
    client.post(url("auth_user_change", user.pk), user_form(user, is_active="", first_name="Ann"))
    event = Event.objects.get()

    page = text_of(client.get(url("agents_event_change", event.pk)))

    assert "<strong>First name</strong>" in page
    assert '<td data-label="After">Ann</td>' in page
    assert '<td data-label="After">No</td>' in page
    assert url("auth_user_change", user.pk) in page


def test_event_of_what_no_longer_exists_is_shown_all_the_same():
    event = Event.objects.create(
        event_id="x",
        kind="object.changed",
        occurred_at=timezone.now(),
        received_at=timezone.now(),
        subject="gone.model:7",
        meta={"before": {"a": 1}, "after": "odd", "withheld": 7},
    )

    page = text_of(console_as("superuser").get(url("agents_event_change", event.pk)))

    assert "gone.model:7" in page


@pytest.mark.parametrize(("role", "status"), [("viewer", 404), ("operator", 404), ("admin", 200)])
def test_changes_of_people_are_told_to_administrators_alone(role, status):
    user = UserFactory(username="ann")
    console_as("superuser").post(url("auth_user_change", user.pk), user_form(user, email="ann@example.com"))
    event = Event.objects.get()
    client = console_as(role)

    page = client.get(url("agents_event_change", event.pk))
    listed = client.get(url("agents_event_changelist"), {"subject": event.subject}).context["cl"].result_count
    home = text_of(client.get(reverse("admin:index")))

    assert page.status_code == status
    assert listed == (1 if status == 200 else 0)
    assert ("user ann" in home) == (status == 200)


@pytest.mark.needs_postgres
def test_changes_of_an_object_are_read_off_their_index():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = changes_of("auth.user:3")[:20].explain()

    assert "subject" in plan
    assert "Index Scan using" in plan
    assert "->  Sort" not in plan


@pytest.mark.needs_postgres
def test_the_default_of_the_subject_is_the_databases():
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_event (event_id, kind, level, occurred_at, received_at, task_name, actor, message,"
            " failure_kind, exception_type, traceback, meta)"
            " VALUES ('old-process', 'task.started', 'info', now(), now(), '', '', '', '', '', '', '{}')"
        )

    assert Event.objects.get().subject == ""
