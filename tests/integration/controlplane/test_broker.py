"""Background jobs while Redis, or the way to it, misbehaves."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness.waiting import eventually
from tests.integration.controlplane.portals import make_up
from tests.servers import private_valkey

pytestmark = pytest.mark.needs_redis
# One time limit on each connection in the way, and the first waits between two tries; more where the machine is busy.
RECOVERS_WITHIN_S = 60


class ForgetfulWay:
    """A way to a server that can forget its connections: nothing passes on them, nothing closes them."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._forgotten = frozenset()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # First nobody accepts any more; then the lists no longer grow.
        _end(self._listener)
        self._threads[0].join()
        for each in self._sockets:
            _end(each)
        for thread in self._threads[1:]:
            thread.join()
        for each in self._sockets:
            each.close()

    def forget(self):
        self._forgotten = frozenset(self._sockets)

    def _accept(self):
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink)))
                self._threads[-1].start()

    def _pass_on(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._forgotten:
                    sink.sendall(data)
        if source not in self._forgotten:
            _end(sink)


def _end(each):
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def test_jobs_go_on_after_their_connections_were_forgotten(tmp_path):
    folder = tmp_path / "valkey"
    folder.mkdir()
    with private_valkey(folder) as redis_url:
        server = urlsplit(redis_url)
        with ForgetfulWay(server.hostname, server.port) as way:
            portal = make_up(tmp_path, REDIS_URL=f"redis://127.0.0.1:{way.port}/0")
            try:
                portal.start()
                portal.wait_until_ready()

                way.forget()
                # The first may have been under way; the third went over new connections.
                for _ in range(3):
                    before = _last_run(portal)
                    eventually(
                        lambda before=before: _last_run(portal) > before,
                        "the job runs again",
                        timeout_s=RECOVERS_WITHIN_S,
                    )
            finally:
                portal.child.kill()


def _last_run(portal):
    checks = portal.readiness()[1]["checks"]
    return checks["background_tasks"]["expire-due-commands"]["meta"]["last_succeeded_at"]
