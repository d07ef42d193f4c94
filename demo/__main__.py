"""`python -m demo`: starts the three agents in the foreground and stops them all on Ctrl-C."""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from demo import RESTART_EXIT_STATUS

REPOSITORY = Path(__file__).resolve().parent.parent
RESTART_PAUSE_S = 2.0
STOP_TIMEOUT_S = 8.0
LABEL_WIDTH = 10


class DemoError(Exception):
    """The demo cannot start; the text tells why and what to do."""


@dataclass
class Agent:
    """One agent of the demo: its module, its state and, while it runs, its process."""

    label: str
    module: str
    state_dir: Path
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def start(self, environment: dict[str, str]) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", self.module],
            cwd=REPOSITORY,
            env=environment | {"ONESTEP_STATE_DIR": str(self.state_dir), "ONESTEP_NODE_NAME": self.label},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Its end tells the agent that this launcher is gone, even where that was killed.
            stdin=subprocess.PIPE,
            text=True,
            # Ctrl-C is for this launcher, which stops the agents in order.
            start_new_session=True,
        )
        threading.Thread(target=self._relay, args=(self.process,), daemon=True).start()

    def say(self, text: str) -> None:
        print(f"  {self.label:<{LABEL_WIDTH}} {text}", flush=True)

    def instance_id(self) -> str | None:
        """The identity it keeps in its state directory; None until its first start."""
        try:
            identity = json.loads((self.state_dir / "identity.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(identity.get("instance_id", "")) or None

    def _relay(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self.say(line.rstrip())


def data_dir() -> Path:
    return Path(os.environ.get("DATA_DIR") or REPOSITORY / "var").resolve()


def portal_url() -> str:
    configured = os.environ.get("ONESTEP_CONTROL_PLANE_URL", "").strip()
    return (configured or f"http://127.0.0.1:{os.environ.get('PORT') or '8000'}").rstrip("/")


def ingest_token() -> str:
    """The token from the environment, else the one that `make up` left in DATA_DIR."""
    configured = os.environ.get("ONESTEP_CONTROL_PLANE_TOKEN", "").strip()
    if configured:
        return configured
    path = data_dir() / "ingest_token"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError:
        token = ""
    if not token:
        raise DemoError(
            f"No ingest token: {path} is not there or is empty. Start the portal with `make up`, "
            "or set ONESTEP_CONTROL_PLANE_TOKEN."
        )
    return token


def require_portal(url: str) -> None:
    """Raises DemoError unless something answers at `url` as the portal does."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5):
            return
    except (OSError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        raise DemoError(
            f"The portal does not answer at {url} ({reason}). Start it with `make up` in another terminal, "
            "or set PORT or ONESTEP_CONTROL_PLANE_URL."
        ) from exc


def supervise(agents: list[Agent], environment: dict[str, str], stopping: threading.Event) -> None:
    """Watches the agents, starting again those that were asked to restart, until told to stop or none is left."""
    restarts: dict[str, float] = {}
    while not stopping.wait(0.2):
        for agent in agents:
            if agent.process is not None and agent.process.poll() is not None:
                status = agent.process.returncode
                agent.process = None
                if status == RESTART_EXIT_STATUS:
                    agent.say("was asked to restart, starting again")
                    restarts[agent.label] = time.monotonic() + RESTART_PAUSE_S
                elif status == 0:
                    agent.say("was shut down and stays down")
                else:
                    agent.say(f"ended with exit status {status} and stays down")
            if agent.process is None and restarts.get(agent.label, float("inf")) <= time.monotonic():
                del restarts[agent.label]
                agent.start(environment)
        if not restarts and all(agent.process is None for agent in agents):
            print("No agent is left; start the demo again to bring them back.", flush=True)
            return


def stop(agents: list[Agent]) -> None:
    """Asks every agent to end, then ends those that did not."""
    running = [agent.process for agent in agents if agent.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in running:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def announce(agents: list[Agent], url: str) -> None:
    print(
        f"\nPortal    {url}\n"
        f"Console   {url}/admin/   services demo-orders (two instances) and demo-billing (one, with a failing task)\n"
        f"State     {data_dir() / 'demo'} (identities survive a restart)\n"
        "Stop      Ctrl-C\n",
        flush=True,
    )
    for agent in agents:
        agent.say(f"starting, pid {agent.process.pid if agent.process else '?'}")


def tell_where(agents: list[Agent], url: str, stopping: threading.Event) -> None:
    """Prints the console page of each agent once its identity is on disk."""
    waiting = list(agents)
    while waiting and not stopping.wait(0.3):
        for agent in list(waiting):
            instance_id = agent.instance_id()
            if instance_id:
                agent.say(f"{url}/admin/agents/instance/{instance_id}/change/")
                waiting.remove(agent)


def run() -> None:
    if importlib.util.find_spec("onestep_control_plane") is None:
        raise DemoError(f"{sys.executable} lacks the packages of demo/requirements.txt. Start it by `make demo`.")
    url = portal_url()
    require_portal(url)
    token = ingest_token()
    # Short intervals, so that a newcomer sees life at once; an operator leaves the defaults of 30 and 5 seconds.
    environment = os.environ | {
        "ONESTEP_CONTROL_PLANE_URL": url,
        "ONESTEP_CONTROL_PLANE_TOKEN": token,
        "ONESTEP_CONTROL_PLANE_HEARTBEAT_INTERVAL_S": "5",
        "ONESTEP_CONTROL_PLANE_METRICS_INTERVAL_S": "10",
        "ONESTEP_CONTROL_PLANE_EVENT_FLUSH_INTERVAL_S": "1",
        "ONESTEP_CONTROL_PLANE_RECONNECT_MAX_DELAY_S": "5",
    }
    # One identity for all three would make them push each other out.
    for name in ("ONESTEP_INSTANCE_ID", "ONESTEP_REPLICA_KEY", "ONESTEP_SERVICE_NAME"):
        environment.pop(name, None)
    states = data_dir() / "demo"
    agents = [
        Agent("orders-1", "demo.orders", states / "orders-1"),
        Agent("orders-2", "demo.orders", states / "orders-2"),
        Agent("billing-1", "demo.billing", states / "billing-1"),
    ]
    stopping = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    try:
        for agent in agents:
            agent.start(environment)
        announce(agents, url)
        threading.Thread(target=tell_where, args=(agents, url, stopping), daemon=True).start()
        supervise(agents, environment, stopping)
    finally:
        stopping.set()
        stop(agents)
    print("All agents are stopped.", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Start three agents of two services against the portal that runs on this machine.",
        epilog="PORT and DATA_DIR are those of the portal, if it was given any. Ctrl-C stops all three.",
    )
    parser.parse_args()
    try:
        run()
    except DemoError as exc:
        print(f"make demo: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"make demo: {exc.strerror or exc}: {exc.filename or data_dir()}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
