"""What every test shares: which tests fit the database and hints at hand, and a database that can be dropped."""

import math

import pytest
from django.conf import settings
from django.db import connection


def pytest_collection_modifyitems(config, items):
    """Leave out, rather than skip, what makes no sense on the servers at hand."""
    missing = set()
    if connection.vendor != "postgresql":
        missing.add("needs_postgres")
    if not settings.REDIS_URL:
        missing.add("needs_redis")
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in missing)]
    if not missing:
        left_out += [
            item
            for item in items
            if item.get_closest_marker("any_servers") and not item.get_closest_marker("needs_postgres")
        ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _nobody_watches_routine(monkeypatch):
    """Writers of events would ask once a second who does, and so would a test that counts queries, or not.

    A test that needs it calls `watching.ask_again()`.
    """
    from agents.services import watching

    monkeypatch.setattr(watching, "_asked", watching.NOTHING)
    monkeypatch.setattr(watching, "_fresh_until", math.inf)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings, django_db_blocker):
    """End what a killed run left open, or its database could not be replaced."""
    with django_db_blocker.unblock():
        _end_sessions(connection.creation._get_test_db_name())


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """End the sessions that threads of the tests left open, or the database could not be dropped."""
    yield
    with django_db_blocker.unblock():
        connection.close()
        _end_sessions(connection.settings_dict["NAME"])


def _end_sessions(database):
    if connection.vendor != "postgresql":
        return
    with connection._nodb_cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [database],
        )
