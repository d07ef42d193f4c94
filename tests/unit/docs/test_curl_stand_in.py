"""What stands in for curl where it is not installed sends the requests that curl sends, as told by a server's ear."""

import contextlib
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import pytest

from tests.e2e.harness import curl as stand_in

SENDERS = {"stand-in": [sys.executable, stand_in.__file__]}
if shutil.which("curl"):
    SENDERS["curl"] = ["curl", "--silent", "--write-out", "%{stderr}%{http_code}\n"]
QUERY = [("c", "+"), ("d", "")]
FORM = "application/x-www-form-urlencoded"


class Ear(BaseHTTPRequestHandler):
    """Sets a cookie, and keeps what it heard: method, path, query, body, and the headers that examples are about."""

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = [self.headers.get(name) for name in ("Authorization", "Content-Type", "Cookie")]
        path, _mark, query = self.path.partition("?")
        self.server.heard.append((self.command, path, parse_qsl(query, keep_blank_values=True), body, *told))
        self.send_response(201)
        self.send_header("Set-Cookie", "session=abc; Path=/; HttpOnly; Max-Age=60")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self):
        """Says that more is coming until nobody listens."""
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while not self.server.is_closing.wait(0.05):
                self.wfile.write(b"more\n")

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 -- the server's names

    def log_message(self, *_args):
        pass


@pytest.fixture
def ear():
    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        server.heard, server.is_closing = [], threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.is_closing.set()
        server.shutdown()


@pytest.fixture(params=SENDERS)
def send(request, ear, tmp_path):
    """Runs one command line; the variable part of its URL is filled in."""

    def run(*arguments, expected=0):
        url = f"http://127.0.0.1:{ear.server_port}"
        filled = [argument.replace("$PORTAL", url) for argument in arguments]
        command = [*SENDERS[request.param], *filled]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=60)
        assert done.returncode == expected, done.stderr
        return done

    return run


@pytest.mark.parametrize(
    ("arguments", "heard"),
    [
        (["-s", "-H", "Authorization: Bearer t"], ("GET", "/a%2Fb", QUERY, "", "Bearer t", None, None)),
        (
            ["-H", "Content-Type: application/json", "-d", '{"a": "中"}'],
            ("POST", "/a%2Fb", QUERY, '{"a": "中"}', None, "application/json", None),
        ),
        (["-X", "DELETE"], ("DELETE", "/a%2Fb", QUERY, "", None, None, None)),
        (["-d", "x=1"], ("POST", "/a%2Fb", QUERY, "x=1", None, FORM, None)),
        (["-G", "--data-urlencode", "q=a b/中"], ("GET", "/a%2Fb", [*QUERY, ("q", "a b/中")], "", None, None, None)),
    ],
)
def test_request_is_sent_as_told(send, ear, arguments, heard):
    send(*arguments, "$PORTAL/a%2Fb?c=%2B&d")

    assert ear.heard == [heard]


def test_body_and_status_are_told_apart(send):
    done = send("$PORTAL/")

    assert (done.stdout, done.stderr) == (b"{}", b"201\n")


def test_cookie_is_kept_in_the_jar_and_sent_from_it(send, ear):
    send("-c", "jar", "$PORTAL/login")
    send("-b", "jar", "$PORTAL/page")

    assert [cookie for *_rest, cookie in ear.heard] == [None, "session=abc"]


def test_stream_is_left_when_its_time_is_over(send):
    done = send("-N", "-X", "PUT", "--max-time", "0.3", "$PORTAL/", expected=stand_in.TIME_IS_OVER)

    assert done.stdout.startswith(b"more\n")
    assert b"200" in done.stderr
