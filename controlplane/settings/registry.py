"""The node registry (argus dialect): thresholds of liveness, ids, access, and where nodes.json goes.

Source: argus contract, Environment.
"""

import re
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env
from controlplane.settings.base import DATA_DIR

# A node whose last report is no older is online; older than the second, it is offline; between them it stays as it is.
ONLINE_THRESHOLD_SECONDS = env.integer("ONLINE_THRESHOLD_SECONDS", 120, minimum=1)
OFFLINE_THRESHOLD_SECONDS = env.integer("OFFLINE_THRESHOLD_SECONDS", 180, minimum=1)
if ONLINE_THRESHOLD_SECONDS > OFFLINE_THRESHOLD_SECONDS:
    raise ImproperlyConfigured(
        f"ONLINE_THRESHOLD_SECONDS ({ONLINE_THRESHOLD_SECONDS}) must not exceed OFFLINE_THRESHOLD_SECONDS "
        f"({OFFLINE_THRESHOLD_SECONDS})."
    )
# How often nodes are judged, and nodes.json is compared with what the registry knows.
SCHEDULER_INTERVAL_SECONDS = env.integer("SCHEDULER_INTERVAL_SECONDS", 30, minimum=1, maximum=3600)

# What the ids of new nodes begin with. Behind a digit, a number could not be told from another prefix's.
NODE_ID_PREFIX = env.text("NODE_ID_PREFIX") or "A"
if not re.fullmatch(r"[A-Za-z0-9._-]{0,31}[A-Za-z._-]", NODE_ID_PREFIX):
    raise ImproperlyConfigured(
        "NODE_ID_PREFIX must be at most 32 letters, digits, '.', '_' and '-', and not end with a digit, not "
        f"{NODE_ID_PREFIX!r}."
    )

# So many nodes are kept at most; further ones are refused until some are forgotten.
NODES_MAX = env.integer("NODES_MAX", 50_000, minimum=1)
# Registrations that one process takes of one address at once, and then a second. Behind one address may be a network.
NODE_REGISTRATION_BURST = 5000
NODE_REGISTRATIONS_PER_S = 50.0

# With `token` every call of the registry but its probes needs an agent token.
AUTH_MODE = env.choice("AUTH_MODE", "disabled", ("disabled", "token"))


def _nodes_file() -> Path:
    configured = env.text("METRIC_NODES_JSON_PATH")
    if configured.endswith("/") or (configured and Path(configured).is_dir()):
        raise ImproperlyConfigured(f"METRIC_NODES_JSON_PATH must name a file, not the folder {configured!r}.")
    return Path(configured).absolute() if configured else DATA_DIR / "nodes.json"


METRIC_NODES_JSON_PATH = _nodes_file()

# A larger body of a node is answered with 413. Source: argus contract, Endpoints.
NODE_BODY_MAX_BYTES = 1024 * 1024
