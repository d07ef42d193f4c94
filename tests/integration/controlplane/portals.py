"""`manage.py up` as a child process, as an operator starts it."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.e2e.harness.process import REPOSITORY, Child
from tests.e2e.harness.waiting import eventually
from tests.servers import free_port

LAST_LINE = "Stop it with Ctrl-C."
START_WITHIN_S = 90


@dataclass
class Up:
    """One `manage.py up` on its own port; `said` is what it printed since its last start."""

    child: Child
    url: str
    environment: dict[str, str]
    _already_said: int = 0

    @property
    def said(self) -> str:
        return self.child.log()[self._already_said :]

    def start(self) -> None:
        self._already_said = len(self.child.log())
        self.child.start()
        eventually(lambda: LAST_LINE in self.said or not self.child.is_running, "it is up", timeout_s=START_WITHIN_S)
        assert self.child.is_running, self.child.tail()

    def value(self, name: str) -> str:
        """What stands after a name, as in `NAME=value` or `name  value`; empty where the name was not printed."""
        found = re.search(rf"^\s+{name}(?:=|\s+)(\S+)$", self.said, re.MULTILINE)
        return found[1] if found else ""

    def readiness(self) -> tuple[int, dict]:
        answer = requests.get(f"{self.url}/readyz", timeout=30)
        return answer.status_code, answer.json()

    def wait_until_ready(self) -> None:
        eventually(lambda: self.readiness()[0] == 200, "it is ready", timeout_s=START_WITHIN_S)


def make_up(folder: Path, **environment: str) -> Up:
    """An `up` that keeps its data in `folder`/data; not started."""
    port = free_port()
    variables = child_environment(DATA_DIR=str(folder / "data"), PORT=str(port), **environment)
    child = Child("up", [sys.executable, "manage.py", "up"], environment=variables, log_dir=folder)
    return Up(child, f"http://127.0.0.1:{port}", variables)


def run_to_its_end(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A management command that should end by itself."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=REPOSITORY,
        env=child_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def child_environment(**environment: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"} | environment
