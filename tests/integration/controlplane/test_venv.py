"""scripts/venv, which every make target begins with, on machines that lack something."""

import subprocess
import sys

import pytest

from tests.e2e.harness.process import REPOSITORY

pytestmark = pytest.mark.any_servers
OLD = '[ "$1" = --version ] && echo "Python 3.8.18"\ncase "$*" in *version_info*) exit 1 ;; esac'
WITHOUT_VENV = f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"'
SUITABLE = f'exec {sys.executable} "$@"'


@pytest.fixture
def machine(tmp_path):
    """A PATH with the tools that every system has, to which Pythons are added."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("basename", "cat", "sh"):
        (tools / name).symlink_to(f"/bin/{name}" if name != "basename" else "/usr/bin/basename")

    def add_python(name, script):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)

    (tmp_path / "requirements.txt").write_text("# nothing\n")
    return tmp_path, add_python


def ensure(folder):
    return subprocess.run(
        [REPOSITORY / "scripts" / "venv", ".venv", "requirements.txt"],
        cwd=folder,
        env={"PATH": str(folder / "bin"), "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_machine_without_python_is_told_so(machine):
    folder, _add_python = machine

    done = ensure(folder)

    assert done.returncode == 1
    assert done.stderr == (
        "error: Python 3.11 or newer is needed, and PATH has no python3; install one and run make again.\n"
    )


def test_old_python_is_named(machine):
    folder, add_python = machine
    add_python("python3", OLD)

    done = ensure(folder)

    assert done.returncode == 1
    assert done.stderr == (
        "error: Python 3.11 or newer is needed, and PATH has Python 3.8.18; install one and run make again.\n"
    )


def test_missing_venv_module_is_told_with_the_remedy(machine):
    folder, add_python = machine
    add_python("python3", WITHOUT_VENV)

    done = ensure(folder)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "lacks its venv module" in done.stderr
    assert "python3-venv" in done.stderr


def test_newer_python_beside_an_old_one_is_taken_once(machine):
    folder, add_python = machine
    add_python("python3", OLD)
    add_python("python3.12", SUITABLE)

    first, second = ensure(folder), ensure(folder)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "Creating .venv" in first.stderr
    assert second.stderr == ""
    assert (folder / ".venv" / "bin" / "python").exists()


def test_changed_requirements_are_installed_again(machine):
    folder, add_python = machine
    add_python("python3", SUITABLE)
    ensure(folder)

    (folder / "requirements.txt").write_text("# nothing\nno-such-package-anywhere==1\n")
    done = ensure(folder)

    assert done.returncode == 1
    assert "Installing requirements.txt" in done.stderr
    assert done.stderr.endswith("error: requirements.txt cannot be installed; see the message of pip above.\n")
