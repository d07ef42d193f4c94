"""Far sides of notifications: an HTTP server that answers as it is told, and a mail server. Both keep what they got."""

import contextlib
import http.server
import socketserver
import threading
from dataclasses import dataclass, field


@dataclass
class Received:
    method: str
    path: str
    headers: dict
    body: bytes


@dataclass
class HttpSink:
    """`answers` are given in turn as (status, body, headers), the last of them again and again."""

    url: str = ""
    answers: list = field(default_factory=lambda: [(200, b'{"code": 0}', {})])
    received: list = field(default_factory=list)


@contextlib.contextmanager
def http_sink():
    made = HttpSink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.received.append(Received(self.command, self.path, dict(self.headers), body))
            status, content, headers = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 -- as http.server calls them

        def log_message(self, *_args):
            pass

    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        made.url = f"http://127.0.0.1:{port}/hook/0123456789abcd"
        yield made


@dataclass
class MailSink:
    port: int = 0
    # What RCPT TO is answered.
    recipient_code: int = 250
    messages: list = field(default_factory=list)


@contextlib.contextmanager
def mail_sink():
    made = MailSink()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, code, text="ok"):
            self.wfile.write(f"{code} {text}\r\n".encode())

        def handle(self):
            self.say(220)
            while line := self.rfile.readline():
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    self.say(354)
                    text = b""
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        text += part
                    made.messages.append(text)
                    self.say(250)
                elif verb == b"RCPT":
                    self.say(made.recipient_code)
                elif verb == b"QUIT":
                    self.say(221)
                    return
                else:
                    self.say(250)

    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        made.port = port
        yield made


@contextlib.contextmanager
def served(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
