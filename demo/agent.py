"""What the demo's agents share: a readable log of the connection, and an exit status of their own for a restart."""

import logging
import os
import sys
import threading

from onestep import ControlPlaneReporter, ControlPlaneReporterConfig, OneStepApp

from demo import RESTART_EXIT_STATUS

_SENTENCES = {
    "control plane WS connected": "connected",
    "control plane WS connection closed": "connection closed, connects again with its next report",
    "control plane WS server requested connection close": "the portal asked it to leave",
}
_REFUSED = "refused: the portal does not accept this token for it"


class _ConnectionLog(logging.Handler):
    """Prints each change of the connection once, in a few words."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        sentence = _SENTENCES.get(message)
        if sentence is None and message.startswith("control plane WS connect failed"):
            reason = message.rpartition("background: ")[2]
            sentence = _REFUSED if "401" in reason or "403" in reason else f"cannot connect, keeps trying: {reason}"
        if sentence is not None and sentence != self._last:
            self._last = sentence
            print(sentence, flush=True)


def _stop_at_end_of_input(app: OneStepApp) -> None:
    # Not sys.stdin.read: a thread inside it keeps the interpreter from ending.
    while os.read(0, 1024):
        pass
    app.request_shutdown()


def run(app: OneStepApp, *, description: str) -> None:
    """Connect `app` to the portal named by the environment and run it until it is told to stop.

    It also stops when its standard input ends, which is when the launcher is gone, however that ended.
    """
    threading.Thread(target=_stop_at_end_of_input, args=(app,), daemon=True).start()
    # The failing tasks fail on purpose: their tracebacks belong in the portal, not on the terminal.
    logging.getLogger("onestep").propagate = False
    logging.getLogger("onestep").addHandler(logging.NullHandler())
    connection = logging.getLogger("onestep.control_plane")
    connection.setLevel(logging.INFO)
    connection.addHandler(_ConnectionLog())
    config = ControlPlaneReporterConfig.from_env(app_name=app.name, service_description=description)
    ControlPlaneReporter(config).attach(app)
    app.run()
    sys.exit(RESTART_EXIT_STATUS if app.restart_requested else 0)
