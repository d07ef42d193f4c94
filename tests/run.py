"""`python -m tests.run [pytest arguments]`: the suite on PostgreSQL and Redis, then once more on SQLite.

Servers that DATABASE_URL and REDIS_URL name are used; where they are unset, private ones run for as long as the tests.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

import pytest

from tests.servers import private_postgres, private_valkey

# No test was selected: with `-k` that may be right for one of the two runs.
NOTHING_SELECTED = pytest.ExitCode.NO_TESTS_COLLECTED


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell starts background jobs with Ctrl-C ignored, and pytest would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _servers() as servers:
        first = _pytest("PostgreSQL and Redis", arguments, servers)
    if first not in (pytest.ExitCode.OK, NOTHING_SELECTED):
        return first
    second = _pytest("SQLite and in-process hints", arguments, {})
    return first if second == NOTHING_SELECTED else second


@contextlib.contextmanager
def _servers():
    """The environment that names both servers."""
    with tempfile.TemporaryDirectory(prefix="portal-test-") as folder, contextlib.ExitStack() as stack:
        servers = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
        for name, start in (("DATABASE_URL", private_postgres), ("REDIS_URL", private_valkey)):
            if not servers[name]:
                place = Path(folder) / start.__name__
                place.mkdir()
                servers[name] = stack.enter_context(start(place))
        yield servers


def _pytest(title: str, arguments: list[str], servers: dict[str, str]) -> int:
    print(f"\n{title}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments], env=environment | servers)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # Ctrl-C reached pytest as well, which now tears down and writes its summary.
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        return process.wait() or pytest.ExitCode.INTERRUPTED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(pytest.ExitCode.INTERRUPTED)
