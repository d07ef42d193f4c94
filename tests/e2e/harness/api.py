"""The portal as a program sees it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests

from tests.e2e.harness.waiting import eventually

TERMINAL = {"succeeded", "failed", "timeout", "cancelled", "rejected", "expired"}


class Api:
    """The REST API of one web process, with the token of an administrator."""

    def __init__(self, url: str, token: str, *, headers: dict[str, str] | None = None) -> None:
        """`headers` go with every request, as a proxy adds them."""
        self.url = url
        self._http = requests.Session()
        self._http.headers.update(headers or {})
        self._http.headers["Authorization"] = f"Bearer {token}"
        self._http.trust_env = False

    def get(self, path: str, **query: str | int) -> Any:
        """The body of a 200; AssertionError with the body of anything else."""
        response = self._http.get(f"{self.url}{path}", params=query, timeout=60)
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def find(self, path: str, **query: str | int) -> Any:
        """As get, but None for 404 and while the process is not reachable."""
        try:
            response = self._http.get(f"{self.url}{path}", params=query, timeout=60)
        except requests.ConnectionError:
            return None
        if response.status_code == 404:
            return None
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def ask(self, path: str, **query: str | int | list[str]) -> requests.Response:
        """The answer to a GET, whatever it is."""
        return self._http.get(f"{self.url}{path}", params=query, timeout=60)

    def post(self, path: str, body: Mapping[str, object], **query: str | int) -> requests.Response:
        return self._http.post(f"{self.url}{path}", json=body, params=query, timeout=60)

    def post_raw(self, path: str, body: bytes) -> requests.Response:
        """As post, with a body that need not be JSON."""
        return self._http.post(f"{self.url}{path}", body, headers={"Content-Type": "application/json"}, timeout=60)

    def service(self, name: str, environment: str = "dev") -> Any:
        return self.find(f"/api/v1/services/{quote(name, safe='')}", environment=environment)

    def of_service(self, name: str, what: str, environment: str = "dev", **query: str | int) -> list[Any]:
        """The items of one of the lists below a service; empty while the service is unknown."""
        page = self.find(f"/api/v1/services/{quote(name, safe='')}/{what}", environment=environment, limit=200, **query)
        return page["items"] if page else []

    def instance(self, service: str, instance_id: str) -> Any:
        return next((row for row in self.of_service(service, "instances") if row["instance_id"] == instance_id), None)

    def order(self, instance_id: str, kind: str, **fields: object) -> Any:
        """Orders a command and returns its summary as the portal answered at once."""
        body: dict[str, object] = {"kind": kind, "reason": "end to end test", "timeout_s": 20, **fields}
        response = self.post(f"/api/v1/instances/{instance_id}/commands", body)
        assert response.status_code == 200, f"{kind}: {response.status_code} {response.text[:500]}"
        return response.json()

    def command(self, command_id: str) -> Any:
        return self.find(f"/api/v1/commands/{command_id}")

    def wait_for_command(self, command_id: str, *, timeout_s: float = 20.0) -> Any:
        """The command once nothing more will happen to it."""

        def finished() -> Any:
            command = self.command(command_id)
            return command if command and command["status"] in TERMINAL else None

        return eventually(finished, f"command {command_id} ends", timeout_s=timeout_s)

    def run(self, instance_id: str, kind: str, **fields: object) -> Any:
        """Orders a command and returns it when it has ended."""
        return self.wait_for_command(self.order(instance_id, kind, **fields)["command_id"])
