"""A far side that answers as it is told, and keeps what it was sent."""

import contextlib
import http.server
import json
import threading
from dataclasses import dataclass, field


@dataclass
class Sink:
    """`answer` is (status, JSON body); `bodies` what came, parsed."""

    answer: tuple = (200, {"code": 0})
    bodies: list = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def sink():
    made = Sink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.bodies.append(json.loads(raw or b"null"))
            status, body = made.answer
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/hook/abcd"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
