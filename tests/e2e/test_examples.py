"""Every curl example of the documents does what the document says, on a portal that holds the fleet it speaks of."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.harness import curl as stand_in
from tests.e2e.harness.example_fleet import SERVICE, TASK, ExampleFleet, example_fleet
from tests.e2e.harness.portal import Portal
from tests.examples import Example, differences, examples

EXAMPLES = [example for page in ("api.md", "operations.md") for example in examples(page)]
SCRIPT_TIMEOUT_S = 60
# The status of each answer goes where the bodies do not.
SETTINGS = 'silent\nwrite-out = "%{stderr}%{http_code}\\n"\n'


@pytest.fixture(scope="module")
def shop(portal: Portal) -> Iterator[ExampleFleet]:
    with example_fleet(portal) as living:
        yield living


@pytest.fixture(scope="module")
def curl_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the settings of curl, and with a curl where the machine has none."""
    folder = tmp_path_factory.mktemp("curl")
    (folder / ".curlrc").write_text(SETTINGS)
    if shutil.which("curl") is None:
        program = folder / "curl"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in.__file__}" "$@"\n')
        program.chmod(0o755)
    return folder


def variables(shop: ExampleFleet) -> dict[str, str]:
    """Those that docs/api.md explains."""
    return {
        "PORTAL": shop.portal.urls[0],
        "TOKEN": shop.portal.api_token,
        "AGENT_TOKEN": shop.portal.ingest_token,
        "SERVICE": quote(SERVICE, safe=""),
        "TASK": quote(TASK, safe=""),
        "INSTANCE": shop.instance_id,
        "RETIRED": shop.retired_id,
        "REMOVAL": shop.removal_id,
        "COMMAND": shop.hold_command(),
        "EVENT": shop.event_id,
        "NODE": shop.node_id,
        "FAN_OUT": shop.fan_out_id,
        "CHANNEL": shop.make_channel(),
        "RULE": shop.make_rule(),
        "ALERT": shop.alert_id,
        "DELIVERY": shop.delivery_id,
        "SILENCE": shop.make_silence(),
        "OLD_TOKEN": shop.make_token("tokens"),
        "OLD_AGENT_TOKEN": shop.make_token("agent-tokens"),
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=map(str, EXAMPLES))
def test_example_is_answered_as_shown(shop: ExampleFleet, curl_dir: Path, work_dir: Path, example: Example) -> None:
    path = f"{curl_dir}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["sh", "-u", "-c", example.script],
        cwd=work_dir,
        env=variables(shop) | {"PATH": path, "CURL_HOME": str(curl_dir), "HOME": str(work_dir)},
        check=False,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
    )

    # The way to leave a stream.
    assert done.returncode in ({0, stand_in.TIME_IS_OVER} if "--max-time" in example.script else {0}), done.stderr
    statuses = [int(line) for line in done.stderr.splitlines()]
    expected = [call.status for call in example.calls]
    assert [_as_expected(*pair) for pair in zip(statuses, expected, strict=True)] == [True] * len(expected), done
    if example.shown is not None:
        assert list(differences(json.loads(example.shown), last_of(done.stdout))) == []


def _as_expected(status: int, expected: int | None) -> bool:
    return 200 <= status < 300 if expected is None else status == expected


def last_of(text: str) -> Any:
    """The last of several JSON documents that follow one another."""
    document, decoder = None, json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        text = text[end:]
    return document
