"""The ten steps of the argus contract, in order, against a running portal.

`python -m tests.e2e.registry_steps` starts a portal of its own, with short thresholds, and takes all ten.
`python -m tests.e2e.registry_steps http://HOST:PORT` takes those that need no hand on the process, on a registry that
has no nodes. Its thresholds are read from the environment; `--nodes-json` names its file where that is in reach.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from tests.e2e.harness.portal import EmbeddedPortal
from tests.e2e.harness.process import Child
from tests.e2e.harness.waiting import eventually

BASE: Final = "/api/v1/master"
# A run takes as long as its silences; they must outlast what a busy machine adds to a request.
SHORT: Final = {
    "ONLINE_THRESHOLD_SECONDS": "4",
    "OFFLINE_THRESHOLD_SECONDS": "5",
    "SCHEDULER_INTERVAL_SECONDS": "1",
}
# What a busy machine adds to what is promised.
SLACK_S: Final = 15.0
STOPPED_WITHIN_S: Final = 10.0
META_DATA: Final = {"hostname": "host-1", "ip": "10.0.0.1", "env": "prod", "user": "u1", "instance": "i1"}
NUMBERS: Final = {"cpu_number": 4, "memory_in_bytes": 8_589_934_592, "gpu_number": 0}
HEALTH: Final = {"disk": {"status": "healthy"}, "net": {"status": "degraded", "error": "slow"}}


@dataclass
class Site:
    """A portal, and what of it is in reach: its file, and its process."""

    url: str
    nodes_json: Path | None = None
    offline_within_s: float = 0.0
    token: str = ""
    operator_token: str = ""
    portal: EmbeddedPortal | None = None
    # The content of the file when anything answered at /readyz for the first time.
    at_first_answer: str = "[]"
    nodes: dict[str, str] = field(default_factory=dict)

    def call(self, verb: str, path: str, body: object = None, *, token: str | None = None) -> requests.Response:
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(verb, f"{self.url}{BASE}{path}", json=body, headers=headers, timeout=30)

    def ok(self, verb: str, path: str, body: object = None, *, status: int = 200, token: str | None = None) -> Any:
        answer = self.call(verb, path, body, token=token)
        assert answer.status_code == status, f"{verb} {path}: HTTP {answer.status_code} {answer.text}"
        return answer.json()

    def report(self, name: str) -> Any:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return self.ok("PUT", f"/nodes/{self.nodes[name]}/status", {"timestamp": now, "health": HEALTH})

    def status(self, name: str) -> str:
        return self.ok("GET", f"/nodes/{self.nodes[name]}")["status"]

    def wait_for_silence(self, name: str) -> None:
        eventually(
            lambda: self.status(name) == "offline", f"{name} is offline", timeout_s=self.offline_within_s + SLACK_S
        )

    def statistics(self) -> tuple[int, dict[str, int]]:
        body = self.ok("GET", "/nodes/statistics")
        return body["total"], {each["status"]: each["count"] for each in body["status_statistics"]}

    def listed(self) -> list[dict[str, Any]] | None:
        """What the file holds; None where it cannot be seen from here."""
        return None if self.nodes_json is None else json.loads(self.nodes_json.read_text(encoding="utf-8"))

    def wait_for_file(self, expected: list[dict[str, Any]]) -> None:
        if self.nodes_json is not None:
            eventually(lambda: self.listed() == expected, f"nodes.json is {expected}", timeout_s=SLACK_S)


def comes_up(site: Site) -> None:
    for path in ("/healthz", f"{BASE}/healthz"):
        assert requests.get(f"{site.url}{path}", timeout=30).status_code == 200, path


def is_ready_with_an_empty_file(site: Site) -> None:
    for path in ("/readyz", f"{BASE}/readyz"):
        eventually(partial(_answers_200, f"{site.url}{path}"), f"{path} is 200")
    assert site.at_first_answer == "[]"
    assert site.listed() in (None, [])
    assert site.statistics() == (0, {})


def registers_a_node(site: Site) -> None:
    status, node = _curl(site, "POST", "/nodes", _registration("node-1"))

    assert (status, node["status"]) == (201, "initialized")
    assert node["meta_data"] == META_DATA | NUMBERS
    assert (node["config"], node["label"], node["health"], node["last_report"]) == ({}, [], {}, None)
    site.nodes["node-1"] = node["id"]
    expected = {"id": node["id"], "name": "node-1", "status": "initialized", "type": "agent", "version": "1.0.0"}
    assert site.ok("GET", "/nodes") == [expected]
    assert site.listed() in (None, [])


def registers_again(site: Site) -> None:
    node_id = site.nodes["node-1"]
    before = site.ok("GET", f"/nodes/{node_id}")

    again = site.ok("POST", "/nodes", _registration("node-1", id=node_id, version="1.1.0"))
    unknown = site.ok("POST", "/nodes", _registration("node-1", id=f"{node_id}999"), status=404)
    other = site.ok("POST", "/nodes", _registration("another-name", id=node_id), status=500)
    lost_its_id = site.ok("POST", "/nodes", _registration("node-1", version="1.1.0"))

    assert again == before | {"version": "1.1.0", "last_updated": again["last_updated"]}
    assert lost_its_id["id"] == node_id
    assert [list(body) for body in (unknown, other)] == [["error"], ["error"]]
    assert len(site.ok("GET", "/nodes")) == 1


def goes_online_offline_online(site: Site) -> None:
    assert site.status("node-1") == "initialized"
    node = site.report("node-1")
    assert (node["status"], node["health"]) == ("online", HEALTH)
    site.wait_for_file([_item(site, "node-1")])

    site.wait_for_silence("node-1")
    site.wait_for_file([])

    assert site.report("node-1")["status"] == "online"
    site.wait_for_file([_item(site, "node-1")])


def shows_labels_of_online_nodes_only(site: Site) -> None:
    path = f"/nodes/{site.nodes['node-1']}/config"
    site.report("node-1")

    configured = site.ok("PUT", path, {"config": {"rate": 5}, "label": ["gpu", "team=x"]}, token=site.operator_token)
    site.wait_for_file([_item(site, "node-1", ["gpu", "team=x"])])
    relabelled = site.ok("PUT", path, {"label": ["gpu"]}, token=site.operator_token)
    site.report("node-1")
    site.wait_for_file([_item(site, "node-1", ["gpu"])])

    assert (configured["config"], configured["label"]) == ({"rate": 5}, ["gpu", "team=x"])
    assert (relabelled["config"], relabelled["label"]) == ({"rate": 5}, ["gpu"])
    site.ok("PUT", path, {}, status=400, token=site.operator_token)
    site.wait_for_silence("node-1")
    site.wait_for_file([])
    site.ok("PUT", path, {"label": ["gpu", "still-offline"]}, token=site.operator_token)
    time.sleep(1)
    assert site.listed() in (None, [])


def counts_an_offline_node(site: Site) -> None:
    assert site.statistics() == (1, {"offline": 1})
    assert site.listed() in (None, [])


def counts_two_nodes(site: Site) -> None:
    node = site.ok("POST", "/nodes", _registration("node-2"), status=201)
    site.nodes["node-2"] = node["id"]
    site.report("node-2")

    assert site.statistics() == (2, {"online": 1, "offline": 1})
    assert [each["name"] for each in site.ok("GET", "/nodes")] == ["node-1", "node-2"]
    site.wait_for_file([_item(site, "node-2")])


def survives_a_restart(site: Site) -> None:
    assert site.portal is not None
    site.report("node-2")
    site.wait_for_file([_item(site, "node-2")])
    before = _all_that_is_told(site)

    site.portal.stop()
    start(site)

    assert _all_that_is_told(site) == before
    # Ids are never given twice.
    third = site.ok("POST", "/nodes", _registration("node-3"), status=201)
    assert third["id"] not in site.nodes.values()


def stops_cleanly(site: Site) -> None:
    assert site.portal is not None
    assert site.nodes_json is not None
    (child,) = site.portal.children
    assert child.process is not None
    began = time.monotonic()

    status = child.terminate(timeout_s=STOPPED_WITHIN_S + SLACK_S)

    assert status == 0, child.tail()
    assert time.monotonic() - began < STOPPED_WITHIN_S
    assert not _has_family(child)
    json.loads(site.nodes_json.read_text(encoding="utf-8"))
    assert list(site.nodes_json.parent.glob(f".{site.nodes_json.name}.*")) == []
    place = urlsplit(site.url)
    with socket.socket() as client:
        assert client.connect_ex((place.hostname or "", place.port or 80)) != 0


STEPS: Final[tuple[Callable[[Site], None], ...]] = (
    comes_up,
    is_ready_with_an_empty_file,
    registers_a_node,
    registers_again,
    goes_online_offline_online,
    shows_labels_of_online_nodes_only,
    counts_an_offline_node,
    counts_two_nodes,
    survives_a_restart,
    stops_cleanly,
)
# These need a hand on the process.
NEED_PROCESS: Final = (survives_a_restart, stops_cleanly)


def own_site(folder: Path, **settings: str) -> Site:
    """A portal of its own below `folder`, not started; `settings` are variables of its environment."""
    path = folder / "metric" / "nodes.json"
    portal = EmbeddedPortal(folder, METRIC_NODES_JSON_PATH=str(path), **SHORT | settings)
    within_s = float(SHORT["OFFLINE_THRESHOLD_SECONDS"]) + float(SHORT["SCHEDULER_INTERVAL_SECONDS"])
    return Site(portal.urls[0], path, within_s, portal=portal)


def start(site: Site) -> None:
    """Start the process, and note what the file held when anything answered for the first time."""
    assert site.portal is not None
    assert site.nodes_json is not None
    (child,) = site.portal.children
    child.start()

    def answers() -> bool:
        assert child.is_running, child.tail()
        try:
            requests.get(f"{site.url}/readyz", timeout=30)
        except requests.ConnectionError:
            return False
        return True

    eventually(answers, "the portal answers", timeout_s=90, every_s=0.02)
    site.at_first_answer = site.nodes_json.read_text(encoding="utf-8")


def _answers_200(url: str) -> bool:
    return requests.get(url, timeout=30).status_code == 200


def _registration(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "type": "agent", "version": "1.0.0", "meta_data": META_DATA | NUMBERS} | changes


def _item(site: Site, name: str, labels: list[str] | None = None) -> dict[str, Any]:
    facts = {"user_id": META_DATA["user"], "ip": META_DATA["ip"], "hostname": META_DATA["hostname"]}
    return {"node_id": site.nodes[name], **facts, "labels": labels or []}


def _all_that_is_told(site: Site) -> tuple[Any, ...]:
    nodes = [site.ok("GET", f"/nodes/{node_id}") for node_id in site.nodes.values()]
    return site.ok("GET", "/nodes"), nodes, site.statistics(), site.listed()


def _curl(site: Site, verb: str, path: str, body: object) -> tuple[int, Any]:
    """The call as an operator makes it by hand, where curl is installed."""
    program = shutil.which("curl")
    if program is None:
        answer = site.call(verb, path, body)
        return answer.status_code, answer.json()
    headers = ["-H", "Content-Type: application/json"]
    if site.token:
        headers += ["-H", f"Authorization: Bearer {site.token}"]
    told = ["-sS", "-X", verb, f"{site.url}{BASE}{path}", *headers, "-d", json.dumps(body), "-w", "\n%{http_code}"]
    done = subprocess.run([program, *told], check=True, capture_output=True, text=True, timeout=60)
    text, _line, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def _has_family(child: Child) -> bool:
    """Whether any process of its session is left."""
    assert child.process is not None
    try:
        os.killpg(child.process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.registry_steps", description=__doc__)
    parser.add_argument("url", nargs="?", help="a running portal with no node; without it, one is started")
    parser.add_argument("--nodes-json", type=Path, help="its file, where it can be read from here")
    parser.add_argument("--token", default="", help="an agent token, where AUTH_MODE is token")
    parser.add_argument("--operator-token", default="", help="an API token of an operator, where AUTH_MODE is token")
    parsed = parser.parse_args(arguments)
    if parsed.url is None:
        with tempfile.TemporaryDirectory(prefix="registry-steps-") as folder:
            site = own_site(Path(folder))
            try:
                start(site)
                return _take(site, STEPS)
            finally:
                assert site.portal is not None
                site.portal.kill()
    variables = {"OFFLINE_THRESHOLD_SECONDS": "180", "SCHEDULER_INTERVAL_SECONDS": "30"}
    within_s = sum(float(os.environ.get(name, usual)) for name, usual in variables.items())
    site = Site(parsed.url.rstrip("/"), parsed.nodes_json, within_s, parsed.token, parsed.operator_token)
    return _take(site, [step for step in STEPS if step not in NEED_PROCESS])


def _take(site: Site, steps: "tuple[Callable[[Site], None], ...] | list[Callable[[Site], None]]") -> int:
    for number, step in enumerate(STEPS, start=1):
        name = step.__name__.replace("_", " ")
        if step not in steps:
            print(f"{number:2} left out  {name}", flush=True)
            continue
        began = time.monotonic()
        try:
            step(site)
        except AssertionError as error:
            print(f"{number:2} FAILED    {name}: {error}", flush=True)
            return 1
        print(f"{number:2} ok        {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
