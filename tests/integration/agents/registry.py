"""Calling the node registry in tests."""

import json

from django.test import Client

BASE = "/api/v1/master"
META_DATA = {
    "hostname": "db-1.example",
    "ip": "10.0.0.7",
    "env": "prod",
    "user": "ann",
    "instance": "i-1",
    "cpu_number": 8,
    "memory_in_bytes": 34359738368,
    "gpu_number": 0,
}
TIMESTAMP = "2026-01-02T03:04:05Z"
HEALTH = {"disk": {"status": "ok", "used": 0.5}, "net": {"status": "ok"}}


class Registry:
    """A client of the registry; `headers` go with every call."""

    def __init__(self, client=None, **headers):
        self.client = client or Client()
        self.headers = headers

    def call(self, verb, path, body=None, **headers):
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.client.generic(
            verb, f"{BASE}{path}", raw, content_type="application/json", headers={**self.headers, **headers}
        )

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def register(self, name="db-1", **changes):
        return self.call("POST", "/nodes", registration(name, **changes))

    def registered(self, name="db-1", **changes):
        """A new node, as it was answered."""
        response = self.register(name, **changes)
        assert response.status_code == 201, response.content
        return response.json()

    def report(self, node_id, **changes):
        return self.call("PUT", f"/nodes/{node_id}/status", {"timestamp": TIMESTAMP, "health": HEALTH} | changes)

    def configure(self, node_id, **body):
        return self.call("PUT", f"/nodes/{node_id}/config", body)


def registration(name="db-1", **changes):
    body = {"name": name, "type": "agent", "version": "1.2.3", "meta_data": META_DATA} | changes
    return {key: value for key, value in body.items() if value is not ...}
