"""What the processes of PostgreSQL are called."""

import pytest

from bench.machine import postgres_kind


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("postgres: checkpointer", "checkpointer"),
        ("postgres: 15/main: walwriter", "walwriter"),
        ("postgres: autovacuum worker portal_bench", "autovacuum worker"),
        ("postgres: io worker 2", "io worker"),
        ("postgres: postgres portal_bench 127.0.0.1(54321) INSERT", "backend"),
        ("postgres: 15/main: checker portal 127.0.0.1(54321) idle", "backend"),
    ],
)
def test_kind_of_a_process_of_postgresql(title, kind):
    assert postgres_kind(title) == kind
