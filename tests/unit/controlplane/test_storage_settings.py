import pytest

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
