"""Open pages of the console without a browser: each reads the stream of its page and fetches what the page would.

As static/console/live.js does: what happens to what the page watches fetches its live part anew, at most once a second,
more seldom where the portal takes long to answer, and once more for what came meanwhile; beside that, every so many
seconds for what no event tells.
"""

import asyncio
import contextlib
import html
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import requests

STREAM = "/api/v1/ui/stream"
# As live.js: between two fetches at least so long, more where the portal takes its time; not all at the same moment.
PAUSE_S, PAUSE_MAX_S = 1.0, 5.0
PAUSE_PER_FETCH = 4.0
JITTER_S = 0.3
CATCH_UP_S = 1.5
LIVE_WITHIN_S = 60.0
_POLLER = re.compile(r"<[^>]*\bdata-poller\b[^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Update:
    """Something that happened and was on the page `seconds` later; both clocks are those of this machine."""

    path: str
    kind: str
    occurred_at: float
    shown_at: float

    @property
    def seconds(self) -> float:
        return self.shown_at - self.occurred_at


@dataclass(slots=True)
class Seen:
    """What a number of open pages saw."""

    updates: list[Update] = field(default_factory=list)
    fetches: int = 0
    fetched_bytes: int = 0
    streams: int = 0
    problems: list[str] = field(default_factory=list)


def log_in(url: str, username: str, password: str) -> str:
    """The header Cookie of a person who came in by the login page."""
    with requests.Session() as browser:
        browser.trust_env = False
        browser.get(f"{url}/admin/login/", timeout=30).raise_for_status()
        answer = browser.post(
            f"{url}/admin/login/?next=/admin/",
            {"username": username, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]},
            headers={"Referer": f"{url}/admin/login/", "Origin": url},
            timeout=30,
        )
        if "login" in urlsplit(answer.url).path:
            raise RuntimeError(f"The login of {username} was refused: HTTP {answer.status_code}")
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


async def hold_open(
    url: str, pages: Sequence[tuple[str, str]], seconds: float, *, on_live: Callable[[], None] | None = None
) -> Seen:
    """Hold these pages open, each a path and a Cookie, until so many seconds after all of them are live.

    `on_live` is called at that moment, and must not wait.
    """
    seen = Seen()
    parts = urlsplit(url)
    assert parts.hostname is not None
    held = [OpenPage(parts.hostname, parts.port or 80, path, cookie, seen) for path, cookie in pages]
    tasks = [asyncio.create_task(page.live()) for page in held]
    try:
        await _while_all_run(tasks, asyncio.gather(*(page.is_live.wait() for page in held)), LIVE_WITHIN_S)
        if on_live is not None:
            on_live()
        await _while_all_run(tasks, asyncio.sleep(seconds), seconds + LIVE_WITHIN_S)
    except TimeoutError:
        seen.problems += [f"{page.path} was not live" for page in held if not page.is_live.is_set()]
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                seen.problems.append(_words(outcome))
    return seen


async def _while_all_run(tasks: Sequence[asyncio.Task[None]], wait: Awaitable[object], within_s: float) -> None:
    """Returns when the wait is over or a task has ended, which none does by itself. Raises TimeoutError."""
    waiting = asyncio.ensure_future(wait)
    try:
        done, _rest = await asyncio.wait([waiting, *tasks], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise TimeoutError
    finally:
        waiting.cancel()


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"


class OpenPage:
    """One page, from its opening until it is cancelled."""

    def __init__(self, host: str, port: int, path: str, cookie: str, seen: Seen) -> None:
        self._address = (host, port)
        self.path = path
        self._cookie = cookie
        self._seen = seen
        self._waiting: list[tuple[str, float]] = []
        self._happened = asyncio.Event()
        self.is_live = asyncio.Event()

    async def live(self) -> None:
        body = (await self._get(self.path)).decode()
        found = _POLLER.search(body)
        if found is None:
            raise RuntimeError(f"{self.path} has no live part")
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(found[0])}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(attributes.get("data-watch", "")))
            tasks.create_task(self._fetch(attributes["hx-get"], float(attributes["data-every"])))

    async def _listen(self, watch: str) -> None:
        async for message in self._messages(f"{STREAM}?{watch}"):
            if message.get("state") == "live":
                self.is_live.set()
                asyncio.get_running_loop().call_later(random.uniform(0, CATCH_UP_S), self._happened.set)
            if message.get("channel") == "closed":
                self._seen.problems.append(f"{self.path}: the stream was closed: {message.get('reason')}")
            if "event_id" in message:
                # When the portal wrote it: agents' clocks are another matter.
                happened = str(message.get("occurred_at") or message["published_at"])
                self._waiting.append((str(message["kind"]), datetime.fromisoformat(happened).timestamp()))
                self._happened.set()
        raise RuntimeError(f"{self.path}: the stream ended")

    async def _fetch(self, url: str, every_s: float) -> None:
        ended, pause_s = 0.0, PAUSE_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._happened.wait(), timeout=every_s * random.uniform(0.75, 1.25))
            await asyncio.sleep(max(_jitter(), ended + pause_s - time.monotonic()))
            self._happened.clear()
            waiting, self._waiting = self._waiting, []
            began = time.monotonic()
            body = await self._get(url)
            ended = time.monotonic()
            pause_s = min(PAUSE_MAX_S, max(PAUSE_S, PAUSE_PER_FETCH * (ended - began)))
            self._seen.fetches += 1
            self._seen.fetched_bytes += len(body)
            shown_at = time.time()
            self._seen.updates += [Update(self.path, kind, at, shown_at) for kind, at in waiting]

    async def _get(self, path: str) -> bytes:
        """The body of a 200, over a connection of its own as a browser's sixth would be."""
        async with self._request(path, {"HX-Request": "true"}) as (status, headers, reader):
            if status not in (200, 286):
                raise RuntimeError(f"GET {path}: HTTP {status}")
            if "content-length" in headers:
                return await reader.readexactly(int(headers["content-length"]))
            return b"".join([part async for part in _chunks(reader)])

    async def _messages(self, path: str) -> AsyncIterator[dict[str, object]]:
        async with self._request(path, {"Accept": "text/event-stream"}) as (status, _headers, reader):
            if status != 200:
                raise RuntimeError(f"GET {path}: HTTP {status}")
            self._seen.streams += 1
            rest = b""
            async for part in _chunks(reader):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])

    @contextlib.asynccontextmanager
    async def _request(
        self, path: str, more: dict[str, str]
    ) -> AsyncIterator[tuple[int, dict[str, str], asyncio.StreamReader]]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            host, port = self._address
            headers = {"Host": f"{host}:{port}", "Cookie": self._cookie, "Connection": "close", **more}
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            writer.write("\r\n".join(lines).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            found = {
                name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in head[1:])
            }
            yield int(head[0].split(" ", 2)[1]), found, reader
        finally:
            writer.close()


def _jitter() -> float:
    return random.uniform(0, JITTER_S)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The parts of a chunked body, until its end."""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
