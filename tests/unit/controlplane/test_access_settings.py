"""What the settings make of the environment, each read by a fresh interpreter as at a start."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from controlplane.settings.access import _origins

REPOSITORY = Path(__file__).resolve().parents[3]
PRODUCTION = {"APP_ENV": "prod", "SECRET_KEY": "s" * 50, "ALLOWED_HOSTS": "portal.example"}
COOKIES = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")


def read(names, folder, **environment):
    """The values of these settings, or what stopped the start."""
    program = (
        "import json\n"
        "from django.core.exceptions import ImproperlyConfigured\n"
        "try:\n"
        "    from controlplane import settings\n"
        "except ImproperlyConfigured as error:\n"
        "    print(json.dumps(str(error)))\n"
        "else:\n"
        f"    print(json.dumps([getattr(settings, name) for name in {list(names)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_production_needs_a_key(tmp_path):
    assert read((), tmp_path, APP_ENV="prod", ALLOWED_HOSTS="x").startswith("SECRET_KEY must be set")
    assert list(tmp_path.iterdir()) == []


def test_production_needs_its_host_names(tmp_path):
    assert read((), tmp_path, APP_ENV="prod", SECRET_KEY="x").startswith("ALLOWED_HOSTS must name")


def test_embedded_default_makes_its_key_once_and_for_its_owner_alone(tmp_path):
    first, second = (read(["SECRET_KEY"], tmp_path) for _ in range(2))

    file = tmp_path / "secret_key"
    assert first == second == [file.read_text()]
    assert len(first[0]) >= 50
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_key_may_come_from_a_file(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("from-a-file\n")

    environment = {"APP_ENV": "prod", "ALLOWED_HOSTS": "x", "SECRET_KEY_FILE": str(secret)}

    assert read(["SECRET_KEY"], tmp_path, **environment) == ["from-a-file"]


def test_cookies_are_secure_in_production_and_plain_on_one_machine(tmp_path):
    assert read(COOKIES, tmp_path, **PRODUCTION) == [True, True]
    assert read(COOKIES, tmp_path, **PRODUCTION, SECURE_COOKIES="false") == [False, False]
    assert read(COOKIES, tmp_path) == [False, False]


def test_origins_are_read_as_browsers_send_them(tmp_path):
    origins = "https://console.example.com, http://localhost:4173,http://[::1]:8080"

    assert read(["CORS_ALLOWED_ORIGINS"], tmp_path, ONESTEP_CP_CORS_ALLOW_ORIGINS=origins) == [
        ["https://console.example.com", "http://localhost:4173", "http://[::1]:8080"]
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://*.example.com",
        "null",
        "console.example.com",
        "https://a.example/",
        "https://a.example/x",
        "HTTPS://A.example",
        "https://user@a.example",
        "ftp://a.example",
        "https://a.example:",
        "https://a.example\n",
    ],
)
def test_origins_that_are_none_or_many_are_refused(origin):
    with pytest.raises(ImproperlyConfigured, match="CORS_ALLOW_ORIGINS must name each origin in full"):
        _origins("CORS_ALLOW_ORIGINS", ("https://fine.example", origin))


def test_an_origin_that_is_refused_stops_the_start(tmp_path):
    assert read((), tmp_path, CORS_ALLOW_ORIGINS="*").startswith("CORS_ALLOW_ORIGINS must name each origin in full")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSOLE_AUTH_SESSION_TTL_S", "59"),
        ("CONSOLE_LOGIN_MAX_FAILURES", "0"),
        ("CONSOLE_LOGIN_LOCKOUT_S", "soon"),
        ("CONSOLE_LOGIN_FAILURE_WINDOW_S", "-1"),
        ("RETENTION_LOGINS_DAYS", "0"),
    ],
)
def test_values_out_of_range_stop_the_start(tmp_path, name, value):
    assert read((), tmp_path, **{name: value}).startswith(f"{name} must be ")
