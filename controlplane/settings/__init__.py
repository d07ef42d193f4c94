"""Settings of every process, from the environment: nothing exists only in production, environments differ by values.

One module per owner; docs and README list every variable. Combinations that cannot work stop the start right here,
because Django's system checks do not run under ASGI.
"""

from controlplane.settings.base import *  # noqa: F403
from controlplane.settings.storage import *  # noqa: F403
from controlplane.settings.agents import *  # noqa: F403
from controlplane.settings.registry import *  # noqa: F403
from controlplane.settings.metrics import *  # noqa: F403
from controlplane.settings.background import *  # noqa: F403
from controlplane.settings.notifications import *  # noqa: F403
from controlplane.settings.access import *  # noqa: F403
from controlplane.settings.headers import *  # noqa: F403
from controlplane.settings.api import *  # noqa: F403
from controlplane.settings.notifications import *  # noqa: F403
from controlplane.settings.live import *  # noqa: F403
from controlplane.settings.admin import *  # noqa: F403
from controlplane.settings.first_start import *  # noqa: F403
from controlplane.settings.logs import *  # noqa: F403
