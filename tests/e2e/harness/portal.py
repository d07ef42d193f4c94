"""The portal as child processes, in the two forms in which it is run."""

import os
import socket
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import requests

from tests.e2e.harness.api import Api
from tests.e2e.harness.process import Child, manage
from tests.e2e.harness.waiting import eventually

# Short enough that a test sees a verdict, long enough that a busy machine does not make one by itself.
FAST = {
    "INSTANCE_OFFLINE_AFTER_S": "4",
    "INSTANCE_HEALTH_PARTICIPATION_WINDOW_S": "3600",
    "REPLICA_HEARTBEAT_S": "2",
    "REPLICA_DEAD_AFTER_S": "6",
    "TAKEOVER_INTERVAL_S": "3",
    "COMMAND_GRACE_S": "1",
    "PROMETHEUS_CACHE_TTL_S": "0",
}
READY_TIMEOUT_S = 90.0
MAKE_API_TOKEN = """
from django.contrib.auth.models import User
from controlplane.access.models import ApiToken
from controlplane.access.services import create_api_token
from controlplane.common.actors import SYSTEM
user = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("e2e")
print(create_api_token(name="e2e", user=user, scope=ApiToken.Scope.ADMIN, actor=SYSTEM)[1])
"""


class Portal(ABC):
    """A portal with an administrator's API token; every process logs into `work_dir`."""

    def __init__(self, work_dir: Path, *, web_count: int) -> None:
        self.work_dir = work_dir
        self.ports = _free_ports(web_count)
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.api_token = ""

    @property
    @abstractmethod
    def children(self) -> list[Child]:
        """Every process of this portal."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment of manage.py for this portal, without HOST and PORT."""

    @property
    @abstractmethod
    def ingest_token(self) -> str:
        """What agents connect with."""

    def web(self, index: int) -> Child:
        """The process that answers at `urls[index]`."""
        return self.children[index]

    def api(self, index: int = 0) -> Api:
        return Api(self.urls[index], self.api_token)

    def start(self) -> None:
        for child in self.children:
            if not child.is_running:
                child.start()
        self.wait_until_ready()
        if not self.api_token:
            self.api_token = self.make_api_token()

    def make_api_token(self) -> str:
        """The secret of a new token of an administrator."""
        return self.run_python(MAKE_API_TOKEN).splitlines()[-1]

    def wait_until_ready(self) -> None:
        try:
            eventually(
                lambda: all(self._is_ready(url) for url in self.urls),
                f"/readyz is 200 at {', '.join(self.urls)}",
                timeout_s=READY_TIMEOUT_S,
            )
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.tails()}") from exc

    def kill(self) -> None:
        for child in self.children:
            child.kill()

    def stop(self) -> None:
        """Ends every process, politely first; AssertionError names the one that did not follow."""
        for child in self.children:
            child.terminate()

    def run_python(self, code: str) -> str:
        """What `code` printed inside `manage.py shell` of this portal."""
        return manage(self.environment, "shell", "-v", "0", "-c", code)

    def tails(self) -> str:
        return "\n".join(child.tail() for child in self.children)

    def _is_ready(self, url: str) -> bool:
        ended = [child.name for child in self.children if not child.is_running]
        if ended:
            # Waiting longer would not bring it back, and the log says why.
            raise AssertionError(f"{', '.join(ended)} ended before the portal was ready")
        try:
            return requests.get(f"{url}/readyz", timeout=30).status_code == 200
        except requests.RequestException:
            return False


class EmbeddedPortal(Portal):
    """What `make up` starts: one process, hints and broker inside it, on SQLite unless `settings` name a database.

    `settings` are variables of its environment.
    """

    def __init__(self, work_dir: Path, **settings: str) -> None:
        super().__init__(work_dir, web_count=1)
        self.data_dir = work_dir / "data"
        self._settings = settings
        self._up = Child(
            "up",
            [sys.executable, "manage.py", "up"],
            environment=self.environment | {"HOST": "127.0.0.1", "PORT": str(self.ports[0])},
            log_dir=work_dir,
        )

    @property
    def children(self) -> list[Child]:
        return [self._up]

    @property
    def environment(self) -> dict[str, str]:
        return _base_environment() | {"DATA_DIR": str(self.data_dir)} | self._settings

    @property
    def ingest_token(self) -> str:
        return (self.data_dir / "ingest_token").read_text(encoding="utf-8").strip()


class ProductionPortal(Portal):
    """Two web processes, a worker and a beat on PostgreSQL and Redis, as the Procfile names them.

    `settings` are variables of its environment.
    """

    def __init__(self, work_dir: Path, *, database_url: str, redis_url: str, **settings: str) -> None:
        super().__init__(work_dir, web_count=2)
        self._settings = settings
        self._server_url = database_url
        self._database = f"e2e_{uuid.uuid4().hex[:12]}"
        self._redis_url = redis_url
        self._children = [
            *(self._child(f"web-{port}", "web", {"HOST": "127.0.0.1", "PORT": str(port)}) for port in self.ports),
            self._child("worker", "worker", {}),
            self._child("beat", "beat", {}),
        ]

    @property
    def children(self) -> list[Child]:
        return self._children

    @property
    def environment(self) -> dict[str, str]:
        return _base_environment() | {
            "DATA_DIR": str(self.work_dir / "data"),
            "DATABASE_URL": _url_of(self._server_url, self._database),
            "DATABASE_POOL_SIZE": "8",
            "REDIS_URL": self._redis_url,
            # Keeps this portal's hints and background jobs apart from those of every other test run.
            "REDIS_PREFIX": self._database,
            "INGEST_TOKENS": self.ingest_token,
            **self._settings,
        }

    @property
    def ingest_token(self) -> str:
        return f"token-of-{self._database}"

    def create_database(self) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self._database}"')
        manage(self.environment, "migrate", "--no-input")

    def drop_database(self) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self._database}" WITH (FORCE)')

    def _child(self, name: str, part: str, environment: dict[str, str]) -> Child:
        return Child(
            name,
            [sys.executable, "manage.py", part],
            environment=self.environment | environment,
            log_dir=self.work_dir,
        )


@contextmanager
def running_portal(work_dir: Path, **settings: str) -> Iterator[Portal]:
    """The production form where DATABASE_URL and REDIS_URL name servers, else the embedded default.

    `settings` are variables of its environment.
    """
    database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    if not (database_url.startswith("postgres") and redis_url):
        embedded = EmbeddedPortal(work_dir, **settings)
        try:
            embedded.start()
            yield embedded
            embedded.stop()
        finally:
            embedded.kill()
        return
    production = ProductionPortal(work_dir, database_url=database_url, redis_url=redis_url, **settings)
    try:
        production.create_database()
        production.start()
        yield production
        production.stop()
    finally:
        production.kill()
        production.drop_database()


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """A new database on that server, dropped at the end; yields its URL."""
    name = f"e2e_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield _url_of(server_url, name)
        finally:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _url_of(server_url: str, database: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))


def _base_environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    fixed = {"SECRET_KEY": "only-for-end-to-end-tests-0123456789-abcdefghij", "PYTHONUNBUFFERED": "1"}
    return {name: os.environ[name] for name in kept if name in os.environ} | FAST | fixed


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; taken together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
