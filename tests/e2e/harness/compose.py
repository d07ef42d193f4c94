"""docker-compose.yml read as compose reads it, and its services run as processes of this machine."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.process import REPOSITORY

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
# ${NAME}, ${NAME:-default} and ${NAME:?sentence}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")


class MissingVariable(Exception):
    """A variable that the file requires is not set; the text is the sentence that compose stops with."""


def read_compose(variables: dict[str, str]) -> dict[str, Any]:
    """The file with these variables filled in. Raises MissingVariable."""
    return _filled_in(yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8")), variables)


def required_variables() -> set[str]:
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    return {found["name"] for found in _VARIABLE.finditer(text) if found["kind"] == "?"}


def _filled_in(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        set_to = variables.get(found["name"], "")
        if not set_to and found["kind"] == "?":
            raise MissingVariable(f"{found['name']}: {found['word']}")
        return set_to or (found["word"] or "")

    return _VARIABLE.sub(replacement, value)


def nginx_for_this_machine(folder: Path, *, ports: list[int], https_port: int, http_port: int) -> Path:
    """deploy/nginx.conf with addresses of this machine for those of the compose network; returns the file.

    Debian's nginx is older than `resolve`, which follows containers that change their address.
    """
    text = (REPOSITORY / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for number, port in enumerate(ports, start=1):
        text = text.replace(f"server web-{number}:8000 resolve", f"server 127.0.0.1:{port}")
    changes = {
        "resolver 127.0.0.11 valid=5s;": "",
        "listen 80 ": f"listen 127.0.0.1:{http_port} ",
        "listen 443 ": f"listen 127.0.0.1:{https_port} ",
        "/etc/nginx/tls/": f"{folder}/",
        "/tmp/nginx.pid": f"{folder}/nginx.pid",
        "worker_rlimit_nofile 65536;": "",
        "worker_connections 16384;": "worker_connections 1024;",
        "access_log off;": "access_log off;\n"
        + "".join(
            f"    {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    }
    for written, here in changes.items():
        assert written in text, f"deploy/nginx.conf no longer says {written!r}"
        text = text.replace(written, here)
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return path
