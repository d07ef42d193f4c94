"""The curl examples of the documents.

Every fenced `sh` block with a line that begins with `curl` is an example. A line `# 409` before a curl says how it is
answered, where that is no success. A `json` block right after shows the answer to the last curl: the same keys, and
values of the same kinds.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```sh\n(?P<script>.*?)^```\n(?:\n?^```json\n(?P<shown>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"# (\d{3})$")
METHOD = re.compile(r"(?:-X|--request) (\w+)")
BODY = re.compile(r"(?:-d|--data\S*) ")
PATH = re.compile(r"\$PORTAL(/[^\s\"'?]*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One curl. `status` is None where any success will do; `path` has its variables unfilled."""

    method: str
    path: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Example:
    page: str
    line: int
    script: str
    # The text of the json block after it.
    shown: str | None

    def __str__(self) -> str:
        first = self.calls[0]
        return f"{self.page}:{self.line} {first.method} {first.path}"

    @property
    def calls(self) -> list[Call]:
        found: list[tuple[str, int | None]] = []
        status = None
        for line in self.script.splitlines():
            if line.startswith("curl "):
                found.append((line, status))
                status = None
            elif told := STATUS.match(line):
                status = int(told[1])
            elif found:
                text, of_text = found[-1]
                found[-1] = (f"{text}\n{line}", of_text)
        return [_call(text, status) for text, status in found]


def _call(text: str, status: int | None) -> Call:
    named, path = METHOD.search(text), PATH.search(text)
    if path is None:
        raise ValueError(f"This curl asks no $PORTAL: {text}")
    method = named[1] if named else "POST" if BODY.search(text) and " -G " not in text else "GET"
    return Call(method, path[1], status)


def examples(page: str) -> list[Example]:
    """Those of docs/`page`, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, block.start()) + 2, block["script"], block["shown"])
        for block in BLOCK.finditer(text)
        if re.search("^curl ", block["script"], re.MULTILINE)
    ]


def differences(shown: Any, answered: Any, where: str = "$") -> Iterator[str]:
    """Where an answer is not of the shape that is shown. `{}`, `[]` and null stand for any object, list and value."""
    if shown is None or answered is None:
        return
    if _kind(shown) != _kind(answered):
        yield f"{where}: {json.dumps(answered)[:100]} is no {_kind(shown)}"
    elif isinstance(shown, dict) and shown:
        for key in sorted(shown.keys() ^ answered.keys()):
            yield f"{where}: {key} is {'not answered' if key in shown else 'not shown'}"
        for key in shown.keys() & answered.keys():
            yield from differences(shown[key], answered[key], f"{where}.{key}")
    elif isinstance(shown, list) and shown:
        if not answered:
            yield f"{where}: nothing is answered"
        for number, item in enumerate(answered):
            # A list may hold several kinds of things; what is like one of them is right.
            tries = [list(differences(one, item, f"{where}[{number}]")) for one in shown]
            yield from min(tries, key=len)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "list", str: "text", int: "number", float: "number"}
    return names[type(value)]
