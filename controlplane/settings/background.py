"""Background jobs of the portal: Celery's broker and manners. The schedule is in controlplane/celery.py."""

from typing import Any

from controlplane.common import env
from controlplane.settings.base import TIME_ZONE
from controlplane.settings.storage import REDIS_URL

CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
# A Redis that hangs, or a connection that a network forgot, never errs by itself: without a limit a worker or beat
# would wait on it for ever. Above the second that a waiting worker asks Redis to hold its answer back.
_BROKER_ANSWERS_WITHIN_S = 5
# In memory, kombu polls; the default of 1 s would be the latency of every background job.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "visibility_timeout": 3600,
        "global_keyprefix": env.text("REDIS_PREFIX", "portal") + ":",
        "socket_timeout": _BROKER_ANSWERS_WITHIN_S,
        "socket_connect_timeout": _BROKER_ANSWERS_WITHIN_S,
        "socket_keepalive": True,
        # How long an answer to a waiting worker may be overdue before its connection is replaced.
        "health_check_interval": _BROKER_ANSWERS_WITHIN_S,
    }
    if REDIS_URL
    else {"polling_interval": 0.05}
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# For ever: the default would end the worker after a hundred.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_IGNORE_RESULT = True
# Without results there is nothing to clean up: Celery would schedule a daily job for it.
CELERY_RESULT_EXPIRES = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_DEFAULT_QUEUE = "portal"
CELERY_TASK_TIME_LIMIT = 600
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# The scheduler's default would sleep up to 5 s before it sees a schedule changed in the admin.
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_TIMEZONE = TIME_ZONE
DJANGO_CELERY_BEAT_TZ_AWARE = True

# A background job that is silent for longer makes the portal not ready.
READINESS_TASK_STALE_AFTER_S = env.integer("READINESS_TASK_STALE_AFTER_S", 120, minimum=5)
