"""/metrics: how long an answer is kept, and how much it holds."""

from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env
from controlplane.settings.agents import INSTANCE_OFFLINE_AFTER_S

# How long an answer is given again before it is made anew; 0 makes one for every scrape.
PROMETHEUS_CACHE_TTL_S = env.integer("PROMETHEUS_CACHE_TTL_S", 15, minimum=0, maximum=3600)
# Instances that were silent for longer have no series. Totals are kept, so that they come back where they were.
PROMETHEUS_INSTANCE_WINDOW_S = env.integer("PROMETHEUS_INSTANCE_WINDOW_S", 86400, minimum=60)
if PROMETHEUS_INSTANCE_WINDOW_S < INSTANCE_OFFLINE_AFTER_S:
    raise ImproperlyConfigured("PROMETHEUS_INSTANCE_WINDOW_S must not be below INSTANCE_OFFLINE_AFTER_S.")
# What one answer holds at most, in series of tasks and their metrics.
PROMETHEUS_SERIES_MAX = env.integer("PROMETHEUS_SERIES_MAX", 500_000, minimum=4, maximum=10_000_000)
