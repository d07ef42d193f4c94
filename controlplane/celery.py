"""The Celery application and the portal's own schedule.

Celery is the bell, never the memory: each entry names work that the next run would find again in the database, so a
lost or doubled run is harmless. `expires` keeps a queue from filling up while no worker runs.
"""

import os

from celery import Celery

# Not by django.conf: Django's settings import this package, and are not there yet.
from controlplane.settings.registry import SCHEDULER_INTERVAL_SECONDS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

app = Celery("controlplane")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "expire-due-commands": {"task": "agents.tasks.expire_due_commands", "schedule": 1.0, "options": {"expires": 5}},
    "sweep-liveness": {"task": "agents.tasks.sweep_liveness", "schedule": 5.0, "options": {"expires": 10}},
    "judge-nodes": {
        "task": "agents.tasks.judge_nodes",
        "schedule": float(SCHEDULER_INTERVAL_SECONDS),
        "options": {"expires": 2 * SCHEDULER_INTERVAL_SECONDS},
    },
    "reconcile-sessions": {"task": "agents.tasks.reconcile_sessions", "schedule": 5.0, "options": {"expires": 10}},
    "make-partitions": {"task": "tasks_app.tasks.make_partitions", "schedule": 5.0, "options": {"expires": 10}},
    "apply-retention": {"task": "tasks_app.tasks.apply_retention", "schedule": 5.0, "options": {"expires": 10}},
    "remove-forgotten": {"task": "tasks_app.tasks.remove_forgotten", "schedule": 5.0, "options": {"expires": 10}},
    "measure-tables": {"task": "agents.tasks.measure_tables", "schedule": 5.0, "options": {"expires": 10}},
    "send-deliveries": {"task": "notifications.tasks.send_deliveries", "schedule": 1.0, "options": {"expires": 5}},
    "clean-deliveries": {"task": "notifications.tasks.clean_deliveries", "schedule": 5.0, "options": {"expires": 10}},
    "find-missed-starts": {
        "task": "notifications.tasks.find_missed_starts",
        "schedule": 30.0,
        "options": {"expires": 60},
    },
    "evaluate-rules": {"task": "notifications.tasks.evaluate_rules", "schedule": 1.0, "options": {"expires": 5}},
    "clean-logins": {"task": "controlplane.tasks.clean_logins", "schedule": 5.0, "options": {"expires": 10}},
}
