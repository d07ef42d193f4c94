"""How the browser is found, on a machine that has one and on one that has none."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness.process import REPOSITORY

pytestmark = pytest.mark.any_servers
# What a shell script needs of a system.
TOOLS = ("sh", "id")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder to be the whole PATH: a system without browser and package manager."""
    for name in TOOLS:
        found = next(path for place in ("/bin", "/usr/bin") if (path := Path(place) / name).exists())
        (tmp_path / name).symlink_to(found)
    return tmp_path


def run(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "scripts" / "browser"],
        env={"PATH": str(path), **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def put_program(path: Path, body: str = "exit 0") -> None:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_browser_is_found_by_the_names_of_systems(bare: Path, name: str) -> None:
    put_program(bare / name)

    done = run(bare)

    assert (done.returncode, done.stdout) == (0, f"{bare / name}\n")


def test_browser_of_the_environment_wins(bare: Path, tmp_path: Path) -> None:
    put_program(bare / "chromium")
    put_program(own := tmp_path / "own")

    assert run(bare, CHROMIUM=str(own)).stdout == f"{own}\n"


def test_browser_of_the_environment_that_is_not_there_is_a_mistake(bare: Path) -> None:
    put_program(bare / "chromium")

    done = run(bare, CHROMIUM="/nowhere/chromium")

    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere/chromium" in done.stderr


def test_without_browser_the_way_to_one_is_told(bare: Path) -> None:
    done = run(bare)

    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install chromium fonts-noto-cjk" in done.stderr


def test_nothing_is_installed_where_that_is_forbidden(bare: Path) -> None:
    put_program(bare / "apt-get", f"echo ran >{bare / 'ran'}")

    assert run(bare, BROWSER_INSTALL="no").returncode == 1

    assert not (bare / "ran").exists()


def test_installation_that_fails_is_told(bare: Path) -> None:
    put_program(bare / "apt-get", "echo no network >&2; exit 100")
    (bare / "id").unlink()
    put_program(bare / "id", "echo 0")

    done = run(bare)

    assert done.returncode == 1
    assert "chromium cannot be installed" in done.stderr
