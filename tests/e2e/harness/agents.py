"""Real OneStep agents as child processes."""

import json
import os
import uuid
from pathlib import Path

from tests.e2e.harness.process import REPOSITORY, Child

# Made by `make agents`; the older one never re-sends its topology by itself and has no presence beacon.
GENERATIONS = {name: REPOSITORY / ".agents" / name / "bin" / "python" for name in ("current", "old")}
SCRIPTED = REPOSITORY / "tests" / "e2e" / "harness" / "scripted_agent.py"
RESTART_EXIT_STATUS = 75
# The defaults of the client are 30, 30 and 5 seconds, and 60 until the presence beacon speaks.
FAST = {
    "ONESTEP_CONTROL_PLANE_HEARTBEAT_INTERVAL_S": "1",
    "ONESTEP_CONTROL_PLANE_METRICS_INTERVAL_S": "1",
    "ONESTEP_CONTROL_PLANE_EVENT_FLUSH_INTERVAL_S": "0.3",
    "ONESTEP_CONTROL_PLANE_RECONNECT_BASE_DELAY_S": "0.1",
    "ONESTEP_CONTROL_PLANE_RECONNECT_MAX_DELAY_S": "0.5",
    "ONESTEP_CONTROL_PLANE_PRESENCE_INTERVAL_S": "0.5",
}


class Agent(Child):
    """`program`, by itself that of `scripted_agent.py`, under the packages of one client generation."""

    def __init__(
        self,
        name: str,
        *,
        generation: str,
        service: str,
        url: str,
        token: str,
        work_dir: Path,
        environment: str = "dev",
        instance_id: str | None = None,
        program: Path = SCRIPTED,
    ) -> None:
        self.instance_id = instance_id or str(uuid.uuid4())
        self.service = service
        self.control_dir = work_dir / f"{name}-control"
        self.control_dir.mkdir(parents=True)
        settings = FAST | {
            "ONESTEP_CONTROL_PLANE_URL": url,
            "ONESTEP_CONTROL_PLANE_TOKEN": token,
            "ONESTEP_CONTROL_PLANE_ENVIRONMENT": environment,
            "ONESTEP_INSTANCE_ID": self.instance_id,
            "ONESTEP_NODE_NAME": name,
            "ONESTEP_STATE_DIR": str(work_dir / f"{name}-state"),
            "SCRIPTED_SERVICE": service,
            "SCRIPTED_CONTROL_DIR": str(self.control_dir),
        }
        super().__init__(
            name,
            [
                str(GENERATIONS[generation]),
                "-u",
                str(program),
            ],
            environment={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | settings,
            log_dir=work_dir,
        )

    def journal(self, task: str) -> list[dict[str, object]]:
        """What the handlers of `task` really did, oldest first."""
        path = self.control_dir / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry["task"] == task]

    def set_flag(self, name: str) -> None:
        (self.control_dir / name).touch()

    def clear_flag(self, name: str) -> None:
        (self.control_dir / name).unlink(missing_ok=True)
