import pytest
from django.core.exceptions import ImproperlyConfigured

from controlplane.settings import storage


@pytest.fixture
def options_of(monkeypatch):
    def read(address):
        monkeypatch.setattr(storage, "DATABASE_URL", address)
        return storage._database()["OPTIONS"]

    return read


def test_a_server_that_vanished_is_given_up(options_of):
    options = options_of("postgres://portal@db/portal")

    probed_for = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    assert probed_for <= 30
    assert options["tcp_user_timeout"] <= 30_000
    assert options["connect_timeout"] <= 30


def test_options_of_the_address_count_first(options_of):
    options = options_of("postgres://portal@db/portal?tcp_user_timeout=7000&keepalives_idle=60&connect_timeout=9")

    assert [int(options[name]) for name in ("tcp_user_timeout", "keepalives_idle", "connect_timeout")] == [7000, 60, 9]
    assert options["keepalives_count"] == 3


@pytest.fixture
def database_of(monkeypatch):
    """The database that an environment names."""

    def read(**environment):
        for name in ("DATABASE_URL", "DATABASE_URL_FILE", "DB_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(storage, "DATABASE_URL", storage._database_url())
        return storage._database()["NAME"]

    return read


def test_db_path_names_the_sqlite_file(database_of, tmp_path):
    path = tmp_path / "odd name #1?.sqlite3"

    assert database_of(DB_PATH=str(path)) == str(path)


def test_database_url_counts_before_db_path(database_of, tmp_path):
    assert database_of(DB_PATH=str(tmp_path / "a.sqlite3"), DATABASE_URL="postgres://portal@db/portal") == "portal"


def test_without_either_the_file_is_in_the_data_folder(database_of):
    assert database_of() == database_of(DB_PATH="") == str(storage.DATA_DIR / "portal.sqlite3")


@pytest.mark.parametrize("value", ["postgres://portal@db/portal", "/tmp", "/nowhere/"])
def test_db_path_that_is_no_file_is_refused(database_of, value):
    with pytest.raises(ImproperlyConfigured, match="DB_PATH must "):
        database_of(DB_PATH=value)
