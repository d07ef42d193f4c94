"""What a process does for its place in production: room for agents, proxies that it believes."""

import resource
import subprocess
import sys

import pytest

from controlplane.runtime import preflight
from tests.e2e.harness.process import REPOSITORY
from tests.integration.controlplane.portals import child_environment

_PRINT_LIMIT = "from controlplane.runtime.preflight import raise_descriptor_limit as r; print(r())"


def with_limits(soft, hard, *command, **environment):
    """A command of manage.py under these limits of open files."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        cwd=REPOSITORY,
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to"),
    [(256, 1024, 1024), (512, 512, 512), (4096, 8192, 8192)],
)
def test_the_limit_of_open_files_is_raised_to_the_hard_one(tmp_path, soft, hard, raised_to):
    done = with_limits(soft, hard, "shell", "-v", "0", "-c", _PRINT_LIMIT, DATA_DIR=str(tmp_path))

    assert done.stdout.strip() == str(raised_to), done.stderr


def test_no_more_is_taken_than_wanted(monkeypatch):
    taken = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: taken.append(limits))

    assert preflight.raise_descriptor_limit() == preflight.DESCRIPTORS_WANTED
    assert taken == [(preflight.DESCRIPTORS_WANTED, resource.RLIM_INFINITY)]


def test_a_system_that_refuses_keeps_what_it_has(monkeypatch):
    def refuse(_which, _limits):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert preflight.raise_descriptor_limit() == 256


def test_a_start_with_little_room_says_for_how_many_agents_it_is(tmp_path):
    # A port that cannot be had ends the start right after.
    done = with_limits(512, 512, "web", DATA_DIR=str(tmp_path), HOST="203.0.113.1", PORT="9")

    assert done.stderr.startswith(
        "warning: This process may open 512 files, and each connected agent takes one: about 256 agents find room. "
        "Raise the hard limit before the start (ulimit -n 65536, LimitNOFILE= of systemd, ulimits of compose).\n"
    )


def test_a_start_with_enough_room_says_nothing(tmp_path):
    done = with_limits(1024, 8192, "web", DATA_DIR=str(tmp_path), HOST="203.0.113.1", PORT="9")

    assert done.stderr.startswith("error: Cannot listen on 203.0.113.1 port 9")


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1,10.0.0.0/33", "10.0.0.1/8"])
def test_a_proxy_that_is_no_address_stops_the_start(tmp_path, proxies):
    done = with_limits(1024, 8192, "web", DATA_DIR=str(tmp_path), TRUSTED_PROXIES=proxies)

    assert "TRUSTED_PROXIES must hold addresses and networks" in done.stderr
