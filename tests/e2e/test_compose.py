"""The production form of docker-compose.yml: its commands, run here as they stand there, hold a real agent.

What needs an engine (images, networks, volumes) is checked by its text; the proxy runs where nginx is installed.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests

from tests.e2e.harness.agents import Agent
from tests.e2e.harness.api import Api
from tests.e2e.harness.compose import (
    MissingVariable,
    nginx_for_this_machine,
    read_compose,
    required_variables,
)
from tests.e2e.harness.peer import Peer
from tests.e2e.harness.portal import MAKE_API_TOKEN
from tests.e2e.harness.process import REPOSITORY, Child, manage
from tests.e2e.harness.waiting import eventually
from tests.servers import free_port

HOST = "portal.example"
VARIABLES = {
    "ALLOWED_HOSTS": f"{HOST},localhost",
    "SECRET_KEY": "only-for-the-compose-test-0123456789-abcdefghijklmnop",
    "POSTGRES_PASSWORD": "postgres-password",
    "REDIS_PASSWORD": "redis-password",
    "TLS_CERTIFICATE": "./portal.crt",
    "TLS_KEY": "./portal.key",
    "INGEST_TOKENS": "token-of-the-compose-test",
    "PROXY_ADDRESS": "127.0.0.1",
}
PORTAL_SERVICES = ("migrate", "web-1", "web-2", "worker", "beat")
AS_THE_PROXY = {"Host": HOST, "X-Forwarded-Proto": "https"}
SECRETS = {"SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}


def test_compose_stops_without_each_secret() -> None:
    assert required_variables() >= SECRETS | {"ALLOWED_HOSTS", "TLS_CERTIFICATE", "TLS_KEY"}
    for name in required_variables():
        with pytest.raises(MissingVariable, match=f"{name}: set {name} in .env"):
            read_compose({key: value for key, value in VARIABLES.items() if key != name})


def test_example_environment_names_what_is_required_and_sets_nothing_secret() -> None:
    lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
    asked = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert asked == dict.fromkeys(required_variables(), "")


def test_every_service_restarts_has_a_health_check_and_waits_for_what_it_needs() -> None:
    services = read_compose(VARIABLES)["services"]

    assert set(services) == {"proxy", *PORTAL_SERVICES, "postgres", "redis"}
    for name, service in services.items():
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
    for name in ("proxy", "postgres", "redis"):
        assert services[name]["healthcheck"]["test"], name
    for name in ("web-1", "web-2"):
        # That of the image.
        assert "healthcheck" not in services[name]
        assert services[name]["ulimits"]["nofile"]["soft"] >= 4096
    for name in set(PORTAL_SERVICES) - {"migrate"}:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_processes_that_change_nodes_share_the_folder_of_nodes_json() -> None:
    compose = read_compose(VARIABLES)
    services = compose["services"]
    (volume,) = services["web-1"]["volumes"]
    name, folder = volume.split(":")

    assert name in compose["volumes"]
    for each in ("web-1", "web-2", "worker"):
        environment = services[each]["environment"]
        assert services[each]["volumes"] == [volume]
        assert environment["METRIC_NODES_JSON_PATH"] == f"{folder}/nodes.json"
        assert environment["AUTH_MODE"] == "token"
    # A new volume belongs to whom the folder of the image belongs to.
    (line,) = [line for line in _instructions() if "install -d" in line]
    assert folder in line.partition("install -d -o portal -g portal")[2].split()


def test_compose_file_is_taken_by_compose() -> None:
    """By the plugin or by the older program of its own, whichever is installed."""
    command = next(
        (
            command
            for command in (["docker", "compose"], ["docker-compose"])
            if shutil.which(command[0])
            and subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0
        ),
        None,
    )
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    if command == ["docker-compose"]:
        # The older program does not know the name of a project.
        text = text.replace("name: portal\n", "", 1)

    done = subprocess.run(
        [*command, "-f", "-", "config"],
        input=text,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | VARIABLES,
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


@dataclass
class Stack:
    """The services of the portal as child processes, by the commands and environments of the file."""

    children: dict[str, Child]
    ports: list[int]
    database_url: str
    environment: dict[str, str]

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def manage(self, *arguments: str) -> str:
        return manage(self.environment, *arguments)

    def get(self, path: str, *, index: int = 0, **options: Any) -> requests.Response:
        """As the proxy passes a request on."""
        headers = AS_THE_PROXY | options.pop("headers", {})
        return requests.get(f"{self.urls[index]}{path}", headers=headers, timeout=60, **options)

    def holder(self, instance_id: str) -> Child | None:
        """The web process that holds the active session of an instance."""
        pid, _address = _session(self, instance_id) or (0, "")
        return next((each for each in self.children.values() if each.process and each.process.pid == pid), None)

    def tails(self) -> str:
        return "\n".join(child.tail() for child in self.children.values())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started in the order of the file: static files as the image has them, migrate to its end, then the rest."""
    folder = tmp_path_factory.mktemp("compose")
    server_url, redis_url = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
    database = f"e2e_{uuid.uuid4().hex[:12]}"
    ports = [free_port(), free_port()]
    here = _image_environment() | {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": urlunsplit(urlsplit(server_url)._replace(path=f"/{database}")),
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": database,
        "DATABASE_POOL_SIZE": "8",
        "DATA_DIR": str(folder / "data"),
        "STATIC_ROOT": str(folder / "static"),
        "HOST": "127.0.0.1",
        "METRIC_NODES_JSON_PATH": str(folder / "metric" / "nodes.json"),
    }
    services = read_compose(VARIABLES)["services"]
    children = {}
    for name in PORTAL_SERVICES:
        environment = services[name]["environment"] | here
        if name.startswith("web-"):
            environment["PORT"] = str(ports[int(name[-1]) - 1])
        program, *arguments = services[name]["command"]
        assert program == "python"
        children[name] = Child(name, [sys.executable, *arguments], environment=environment, log_dir=folder)
    stack = Stack(children, ports, here["DATABASE_URL"], children["migrate"].environment)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')
        try:
            stack.manage(*_collecting_command())
            children["migrate"].start()
            assert children["migrate"].wait_for_exit(timeout_s=120) == 0, children["migrate"].tail()
            for name in PORTAL_SERVICES[1:]:
                children[name].start()
            for index in range(len(ports)):
                _wait_until_ready(stack, index)
            yield stack
            for name in PORTAL_SERVICES[1:]:
                assert children[name].terminate() == 0, children[name].tail()
        finally:
            for child in children.values():
                child.kill()
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _wait_until_ready(stack: Stack, index: int) -> None:
    def is_ready() -> bool:
        try:
            return stack.get("/readyz", index=index).status_code == 200
        except requests.ConnectionError:
            return False

    try:
        eventually(is_ready, f"web-{index + 1} is ready", timeout_s=60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stack.tails()}") from error


def _instructions() -> list[str]:
    """The instructions of the Dockerfile, each on one line."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _image_environment() -> dict[str, str]:
    final = "\n".join(_instructions()).split("\nFROM ")[-1].splitlines()
    words = [word for line in final if line.startswith("ENV ") for word in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words)


def _collecting_command() -> list[str]:
    (line,) = [line for line in _instructions() if "collectstatic" in line]
    return shlex.split(line[line.index("manage.py ") :])[1:]


def test_image_runs_as_nobody_in_particular_and_ends_by_the_signal_that_drains() -> None:
    instructions = _instructions()

    assert "USER portal" in instructions
    assert instructions.index("USER portal") > max(n for n, line in enumerate(instructions) if line.startswith("RUN"))
    assert "STOPSIGNAL SIGTERM" in instructions
    assert _image_environment()["PYTHONUNBUFFERED"] == "1"


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_health_check_of_the_image_tells_a_web_process_that_answers_from_none(stack: Stack) -> None:
    (line,) = [line for line in _instructions() if line.startswith("HEALTHCHECK")]
    program, script = json.loads(line.split(" CMD ")[1])
    assert program == "python"

    def health(port: int) -> tuple[int, str]:
        environment = {"PORT": str(port), "ALLOWED_HOSTS": HOST}
        done = subprocess.run(
            [sys.executable, script], cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True
        )
        return done.returncode, done.stdout.split(":")[0]

    assert health(stack.ports[0]) == (0, "/healthz")
    assert health(free_port()) == (1, "no answer")


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_nodes_must_show_a_token_and_stand_in_the_file_that_all_processes_share(stack: Stack) -> None:
    path = Path(stack.environment["METRIC_NODES_JSON_PATH"])
    assert path.read_text(encoding="utf-8") == "[]"
    body = {"name": "n", "type": "agent", "version": "1", "meta_data": {"ip": "10.0.0.1"}}
    token = {"Authorization": f"Bearer {VARIABLES['INGEST_TOKENS']}"}

    def call(verb: str, place: str, body: dict[str, Any], headers: dict[str, str], index: int) -> requests.Response:
        url = f"{stack.urls[index]}/api/v1/master/{place}"
        return requests.request(verb, url, json=body, headers=AS_THE_PROXY | headers, timeout=60)

    assert call("POST", "nodes", body, {}, 0).status_code == 401
    node = call("POST", "nodes", body, token, 0).json()
    report = {"timestamp": "2026-01-02T03:04:05Z", "health": {}}
    assert call("PUT", f"nodes/{node['id']}/status", report, token, 1).json()["status"] == "online"

    listed = eventually(lambda: json.loads(path.read_text(encoding="utf-8")), "the node is in the file", timeout_s=20)
    assert [(each["node_id"], each["ip"]) for each in listed] == [(node["id"], "10.0.0.1")]


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_static_files_are_those_that_the_image_collected(stack: Stack) -> None:
    page = stack.get("/admin/login/")
    name = next(part for part in page.text.split('"') if part.startswith("/static/console/console."))

    answer = stack.get(name)

    assert (page.status_code, answer.status_code) == (200, 200)
    # Named after its contents, so that browsers may keep it for ever.
    assert name.count(".") == 2
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_plain_http_is_sent_to_https(stack: Stack) -> None:
    answer = stack.get("/admin/login/", headers={"X-Forwarded-Proto": "http"}, allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{HOST}/admin/login/")


@pytest.fixture(scope="module")
def api(stack: Stack) -> Api:
    token = stack.manage("shell", "-v", "0", "-c", MAKE_API_TOKEN).splitlines()[-1]
    return Api(stack.urls[0], token, headers=AS_THE_PROXY)


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_agent_dials_in_and_obeys(stack: Stack, api: Api, work_dir: Path) -> None:
    agent = _agent("direct", stack.urls[1], work_dir)
    try:
        agent.start()
        eventually(lambda: _session(stack, agent.instance_id), "the agent has a session")

        assert api.run(agent.instance_id, "ping")["status"] == "succeeded"
    finally:
        agent.kill()


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_peer_address_is_believed_from_the_proxy(stack: Stack) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    with Peer(stack.urls[0], VARIABLES["INGEST_TOKENS"], service="composed", headers=headers) as peer:
        _pid, peer_address = _session(stack, peer.instance_id) or (0, "")

    assert peer_address == "203.0.113.9"


@dataclass
class Proxy:
    """nginx with deploy/nginx.conf; `certificate` is that of localhost, made for this run."""

    child: Child
    url: str
    http_url: str
    certificate: Path


@pytest.fixture(scope="module")
def proxy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx, openssl = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), shutil.which("openssl")
    if not (nginx and openssl):
        pytest.skip("nginx or openssl is not installed")
    folder = tmp_path_factory.mktemp("proxy")
    https_port, http_port = free_port(), free_port()
    config = nginx_for_this_machine(folder, ports=stack.ports, https_port=https_port, http_port=http_port)
    certificate, key = folder / "portal.crt", folder / "portal.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([openssl, *made, *names], check=True, capture_output=True)
    child = Child(
        "nginx", [nginx, "-p", str(folder), "-c", str(config), "-g", "daemon off;"], environment={}, log_dir=folder
    )
    running = Proxy(child, f"https://localhost:{https_port}", f"http://localhost:{http_port}", certificate)
    try:
        child.start()
        eventually(lambda: _status(f"{running.http_url}/alive") == 204, "nginx answers")
        yield running
    finally:
        child.kill()


def _status(url: str, **options: Any) -> int:
    """0 where nobody answers; an ended process would be waited for in vain, so its log is shown by the failure."""
    try:
        return requests.get(url, timeout=60, **options).status_code
    except requests.ConnectionError:
        return 0


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_agent_behind_the_proxy_comes_back_over_the_other_process(
    stack: Stack, api: Api, proxy: Proxy, work_dir: Path
) -> None:
    agent = _agent("proxied", proxy.url, work_dir, SSL_CERT_FILE=str(proxy.certificate))
    try:
        agent.start()
        eventually(lambda: _session(stack, agent.instance_id), "it has a session")
        assert api.run(agent.instance_id, "ping")["status"] == "succeeded"

        holder = stack.holder(agent.instance_id)
        assert holder is not None
        holder.kill()
        eventually(
            lambda: stack.holder(agent.instance_id) not in (None, holder), "the other process holds it", timeout_s=60
        )
        # People are served as well, whichever of the two is asked first.
        statuses = {_status(f"{proxy.url}/admin/login/", verify=str(proxy.certificate)) for _ in range(10)}
        holder.start()
        _wait_until_ready(stack, 0)
        _wait_until_ready(stack, 1)
        assert api.run(agent.instance_id, "ping")["status"] == "succeeded"
        assert statuses == {200}
    finally:
        agent.kill()


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_proxy_does_not_pass_on_what_a_peer_claims_to_be(stack: Stack, proxy: Proxy) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    with Peer(
        proxy.url, VARIABLES["INGEST_TOKENS"], service="composed", headers=headers, trusts=proxy.certificate
    ) as peer:
        _pid, peer_address = _session(stack, peer.instance_id) or (0, "")

    assert peer_address == "127.0.0.1"


@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_proxy_sends_plain_http_to_https(proxy: Proxy) -> None:
    answer = requests.get(f"{proxy.http_url}/admin/login/", timeout=60, allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (308, "https://localhost/admin/login/")


def _session(stack: Stack, instance_id: str) -> tuple[int, str] | None:
    """The process that holds the active session of an instance, and the address that it came from."""
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute(
            "SELECT r.pid, s.peer_address FROM agents_session s JOIN agents_replica r ON r.id = s.replica_id"
            " WHERE s.instance_id = %s AND s.status = 'active'",
            [instance_id],
        ).fetchone()


def _agent(name: str, url: str, work_dir: Path, **environment: str) -> Agent:
    agent = Agent(
        name, generation="current", service="composed", url=url, token=VARIABLES["INGEST_TOKENS"], work_dir=work_dir
    )
    agent.environment |= environment
    return agent
