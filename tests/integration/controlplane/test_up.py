"""`manage.py up` from outside: what it prints, whom it lets in, how it stops, what it refuses."""

import concurrent.futures
import contextlib
import os
import signal
import socket
import sqlite3
import stat
import time
import uuid
from pathlib import Path

import psycopg
import pytest
import requests
from django.db import connection

from tests.e2e.harness.waiting import eventually
from tests.integration.controlplane.portals import make_up, run_to_its_end
from tests.servers import free_port

pytestmark = pytest.mark.any_servers
# The promise is 5 s; the rest is for a machine that runs other tests beside.
STOPPED_WITHIN_S = 8


def data_dir(up):
    return Path(up.environment["DATA_DIR"])


def sign_in(url, user, password):
    session = requests.Session()
    session.get(f"{url}/admin/login/", timeout=30)
    form = {"username": user, "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    return session.post(f"{url}/admin/login/?next=/admin/", data=form, allow_redirects=False, timeout=30)


def test_up_prints_where_the_admin_is(running_up):
    assert f"The portal is up: {running_up.url}/admin/" in running_up.said


def test_up_prints_a_login_that_opens_the_admin(running_up):
    answer = sign_in(running_up.url, running_up.value("user"), running_up.value("password"))

    assert (answer.status_code, answer.headers.get("Location")) == (302, "/admin/")


def test_up_prints_three_lines_with_which_an_agent_is_let_in(running_up):
    assert running_up.value("ONESTEP_CONTROL_PLANE_URL") == running_up.url
    assert running_up.value("ONESTEP_CONTROL_PLANE_ENVIRONMENT") == "dev"

    refused, let_in = (
        requests.post(
            f"{running_up.url}/api/v1/agents/presence",
            json={},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        for token in ("oat_wrong", running_up.value("ONESTEP_CONTROL_PLANE_TOKEN"))
    )

    assert refused.status_code == 401
    assert let_in.status_code not in (401, 403)


def test_up_keeps_the_ingest_token_for_its_owner_alone(running_up):
    file = data_dir(running_up) / "ingest_token"

    assert file.read_text() == running_up.value("ONESTEP_CONTROL_PLANE_TOKEN") + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_up_says_where_data_lives(running_up):
    assert f"Data is in {data_dir(running_up) / 'portal.sqlite3'}" in running_up.said


def test_up_has_written_nodes_json_when_it_answers(running_up):
    assert (data_dir(running_up) / "nodes.json").read_text() == "[]"


def test_up_warns_of_a_registry_that_is_open_to_a_network(up):
    up.child.environment["HOST"] = "0.0.0.0"
    up.start()

    assert "warning: AUTH_MODE is disabled and HOST is 0.0.0.0: whoever reaches this address may" in up.said


def test_up_says_nothing_of_a_registry_that_only_this_machine_reaches(running_up):
    assert "AUTH_MODE" not in running_up.child.log()


def test_up_is_ready_with_all_its_parts(running_up):
    running_up.wait_until_ready()

    _status, body = running_up.readiness()

    assert {name: part["ready"] for name, part in body["checks"]["parts"].items()} == {
        "web": True,
        "worker": True,
        "beat": True,
    }


def test_second_up_on_one_data_dir_is_refused(running_up):
    refused = run_to_its_end("up", **running_up.environment | {"PORT": str(free_port())})

    pid = running_up.child.process.pid
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: Another portal (process {pid}) runs on {data_dir(running_up) / 'portal.sqlite3'} already: stop it, or "
        "give this one a DATA_DIR of its own.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_stops_cleanly_within_five_seconds(up, number):
    up.start()
    up.wait_until_ready()

    began = time.monotonic()
    os.kill(up.child.process.pid, number)
    status = up.child.wait_for_exit()

    assert status == 0, up.child.tail()
    assert time.monotonic() - began < STOPPED_WITHIN_S
    assert "portal.stopped late=" not in up.said


def test_up_stops_within_five_seconds_although_an_agent_does_not_answer(up):
    up.start()
    upgrade = (
        "GET /api/v1/agents/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {up.value('ONESTEP_CONTROL_PLANE_TOKEN')}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(up.environment["PORT"]))) as deaf:
        deaf.sendall(upgrade.encode())
        assert deaf.recv(4096).startswith(b"HTTP/1.1 101 ")

        began = time.monotonic()
        os.kill(up.child.process.pid, signal.SIGTERM)
        status = up.child.wait_for_exit()

    assert status == 0, up.child.tail()
    assert time.monotonic() - began < STOPPED_WITHIN_S


def test_second_start_finds_everything_and_prints_no_password(up):
    up.start()
    token, password = up.value("ONESTEP_CONTROL_PLANE_TOKEN"), up.value("password")
    up.child.terminate()

    up.start()

    assert (up.value("ONESTEP_CONTROL_PLANE_TOKEN"), up.value("password")) == (token, "")
    assert "Sign in as admin with the password that you have" in up.said
    assert sign_in(up.url, "admin", password).status_code == 302


def test_up_takes_login_and_token_from_the_environment(tmp_path):
    password_file = tmp_path / "password"
    password_file.write_text("correct horse\n")
    portal = make_up(
        tmp_path, ADMIN_USERNAME="chief", ADMIN_PASSWORD_FILE=str(password_file), INGEST_TOKENS="from-env,second"
    )
    try:
        portal.start()

        assert "correct horse" not in portal.said
        assert sign_in(portal.url, "chief", "correct horse").status_code == 302
        assert portal.value("ONESTEP_CONTROL_PLANE_TOKEN") == "from-env"
        assert not (data_dir(portal) / "ingest_token").exists()
    finally:
        portal.child.kill()


def test_crashed_part_is_told_by_readiness_and_started_again(up):
    """Beat crashes when the table of its schedule is gone, and comes back when the table is there again."""
    up.start()
    up.wait_until_ready()
    with contextlib.closing(sqlite3.connect(data_dir(up) / "portal.sqlite3", timeout=20)) as database, database:
        database.execute("ALTER TABLE django_celery_beat_periodictask RENAME TO hidden")
        database.execute("UPDATE django_celery_beat_periodictasks SET last_update = '2999-01-01 00:00:00'")

    # Started again, it may run for a moment before it crashes again.
    status, body = eventually(
        lambda: (
            (found := up.readiness())[1]["checks"]["parts"]["beat"]["ready"] is False
            and found[1]["checks"]["parts"]["beat"]["meta"]["crashes"]
            and found
        ),
        "readiness tells the crash",
    )

    assert status == 503
    assert body["status"] == "not_ready"
    assert body["checks"]["parts"]["web"]["ready"] is True
    assert "part.crashed name=beat" in up.said

    with contextlib.closing(sqlite3.connect(data_dir(up) / "portal.sqlite3", timeout=20)) as database, database:
        database.execute("ALTER TABLE hidden RENAME TO django_celery_beat_periodictask")
    up.wait_until_ready()
    assert up.readiness()[1]["checks"]["parts"]["beat"]["ready"] is True


def test_port_in_use_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        refused = run_to_its_end("up", DATA_DIR=str(tmp_path), PORT=str(port))

    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: Cannot listen on 127.0.0.1 port {port}: Address already in use. "
        "Set PORT, or HOST, to one that is free here.\n"
    )


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"DATA_DIR": "{tmp}/file/below"}, "{tmp}/file/below"),
        ({"DATA_DIR": "{tmp}/file"}, "{tmp}/file"),
        ({"DATABASE_URL": "postgres://me:s3cret@127.0.0.1:{closed}/db"}, "db at 127.0.0.1:{closed} (as me)"),
        ({"DATABASE_URL": "sqlite:///{tmp}/file"}, "{tmp}/file"),
        ({"DATABASE_URL": "sqlite://:memory:"}, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://me:s3cret@127.0.0.1/db"}, "DATABASE_URL"),
        ({"REDIS_URL": "redis://me:s3cret@127.0.0.1:{closed}/2"}, "127.0.0.1:{closed}/2"),
        ({"REDIS_URL": "nonsense"}, "REDIS_URL"),
        ({"PORT": "http"}, "PORT"),
        ({"HOST": "no-such-host.invalid"}, "no-such-host.invalid"),
        ({"ADMIN_PASSWORD_FILE": "{tmp}/missing"}, "ADMIN_PASSWORD_FILE"),
        ({"APP_ENV": "prod"}, "SECRET_KEY"),
    ],
    ids=lambda value: "=".join(next(iter(value.items()))) if isinstance(value, dict) else "",
)
def test_start_that_cannot_work_is_refused_in_one_sentence(tmp_path, environment, names):
    (tmp_path / "file").write_text("not a folder, not a database")
    fill = {"tmp": tmp_path, "closed": free_port()}
    defaults = {"DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}

    refused = run_to_its_end("up", **defaults | {name: value.format(**fill) for name, value in environment.items()})

    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert names.format(**fill) in refused.stderr
    assert "s3cret" not in refused.stderr


@pytest.mark.parametrize("part", ["worker", "beat"])
def test_part_that_nobody_could_reach_is_refused(tmp_path, part):
    refused = run_to_its_end(part, DATA_DIR=str(tmp_path))

    assert refused.returncode == 1
    assert refused.stderr == (
        "error: Without REDIS_URL the parts of the portal must share one process: run `python manage.py up`, or set "
        "REDIS_URL.\n"
    )


def test_beat_without_anybody_to_work_is_refused(tmp_path):
    refused = run_to_its_end("up", "--no-worker", DATA_DIR=str(tmp_path))

    assert refused.returncode == 1
    assert "--no-beat" in refused.stderr


@pytest.mark.needs_postgres
def test_two_ups_on_one_fresh_database_make_one_administrator_and_one_token(tmp_path):
    server = connection.settings_dict
    place = f"{server['USER']}@{server['HOST'] or '127.0.0.1'}:{server['PORT'] or 5432}"
    name = f"up_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    ups = []
    try:
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            ups.append(make_up(folder, DATABASE_URL=f"postgres://{place}/{name}"))
        with concurrent.futures.ThreadPoolExecutor() as threads:
            list(threads.map(lambda portal: portal.start(), ups))

        assert sorted(bool(portal.value("password")) for portal in ups) == [False, True]
        assert sorted(bool(portal.value("ONESTEP_CONTROL_PLANE_TOKEN")) for portal in ups) == [False, True]
        with psycopg.connect(f"postgres://{place}/{name}") as look:
            assert look.execute("SELECT count(*) FROM auth_user").fetchone() == (1,)
            assert look.execute("SELECT name FROM agents_agenttoken").fetchall() == [("first-start",)]
        assert [portal.child.terminate() for portal in ups] == [0, 0]
    finally:
        for portal in ups:
            portal.child.kill()
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
