"""Agents: what they may send, how long they may be silent, how commands are timed."""

from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env

# Ingest tokens from the environment speak for every dialect and environment; those made in the admin can be narrower.
INGEST_TOKENS = env.items("INGEST_TOKENS")

# The largest frame taken from an agent, in bytes; a larger one closes the socket with 1009.
AGENT_FRAME_MAX_BYTES = env.integer(
    "AGENT_FRAME_MAX_BYTES", 4 * 1024 * 1024, minimum=64 * 1024, maximum=64 * 1024 * 1024
)
AGENT_HELLO_TIMEOUT_S = env.integer("AGENT_HELLO_TIMEOUT_S", 60, minimum=1)
AGENT_HEARTBEAT_INTERVAL_S = env.integer("AGENT_HEARTBEAT_INTERVAL_S", 30, minimum=1)
# Each agent is told this interval, or up to so much more or less of it, so that a fleet does not beat in step.
AGENT_HEARTBEAT_JITTER = 0.1
# A handler that blocks the agent's loop stops its pongs too: the timeout must outlive it.
AGENT_PING_INTERVAL_S = env.integer("AGENT_PING_INTERVAL_S", 30, minimum=1)
AGENT_PING_TIMEOUT_S = env.integer("AGENT_PING_TIMEOUT_S", 120, minimum=1)
# Admission to one process: connections in all, and new ones: so many at once, then so many a second. The defaults let
# 2,000 agents that come back together all in within five seconds.
AGENT_CONNECTIONS_MAX = env.integer("AGENT_CONNECTIONS_MAX", 10_000, minimum=1)
AGENT_CONNECTS_PER_S = env.integer("AGENT_CONNECTS_PER_S", 300, minimum=1)
AGENT_CONNECT_BURST = env.integer("AGENT_CONNECT_BURST", 1000, minimum=1)
# What one agent may send: so many frames at once, then so many a second; a frame counts one more per 64 KiB and per 10
# records. Beyond it the socket is read no faster, and nothing is lost. Answers to commands do not count. The busiest
# agent of the contract takes 3 a second; what it kept during an outage (300) is read within some four seconds.
AGENT_FRAMES_PER_S = env.integer("AGENT_FRAMES_PER_S", 50, minimum=1)
AGENT_FRAME_BURST = env.integer("AGENT_FRAME_BURST", 100, minimum=1)
# Who was not heard of for so many days is shown as one that may be archived.
STALE_AFTER_DAYS = env.integer("STALE_AFTER_DAYS", 30, minimum=1)
# Two live processes under one identity may take the session from each other this often at most.
TAKEOVER_INTERVAL_S = env.integer("TAKEOVER_INTERVAL_S", 60, minimum=1)

INSTANCE_OFFLINE_AFTER_S = env.integer("INSTANCE_OFFLINE_AFTER_S", 90, minimum=1)
INSTANCE_HEALTH_PARTICIPATION_WINDOW_S = env.integer("INSTANCE_HEALTH_PARTICIPATION_WINDOW_S", 3600, minimum=1)
if INSTANCE_HEALTH_PARTICIPATION_WINDOW_S < INSTANCE_OFFLINE_AFTER_S:
    raise ImproperlyConfigured("INSTANCE_HEALTH_PARTICIPATION_WINDOW_S must not be below INSTANCE_OFFLINE_AFTER_S.")
# After the portal's own start, or while its database was away, silence proves nothing.
LIVENESS_GRACE_S = env.integer("LIVENESS_GRACE_S", INSTANCE_OFFLINE_AFTER_S, minimum=0)

# A frame to the agent over 1,048,576 bytes makes its client close the socket; the envelope needs some of them.
COMMAND_ARGS_MAX_BYTES = 900_000
# What the arguments of one order for many instances may take in all, stored once for each of them.
FAN_OUT_MAX_BYTES = env.integer("FAN_OUT_MAX_BYTES", 64 * 1024 * 1024, minimum=1024 * 1024)
COMMAND_TIMEOUT_DEFAULT_S = 10
COMMAND_TIMEOUT_MAX_S = env.integer("COMMAND_TIMEOUT_MAX_S", 30 * 86400, minimum=1)
# The agent counts a command's time from receipt, the portal from creation: the difference is granted.
COMMAND_GRACE_S = env.integer("COMMAND_GRACE_S", 5, minimum=0)
COMMAND_RESULT_MAX_BYTES = env.integer("COMMAND_RESULT_MAX_BYTES", 1024 * 1024, minimum=1024)

# The bounded buffer between sockets and database, in records of one process.
INGEST_QUEUE_SIZE = env.integer("INGEST_QUEUE_SIZE", 10_000, minimum=10)
# The same two bounds in bytes of frames: one agent may send records of megabytes.
INGEST_QUEUE_BYTES = env.integer("INGEST_QUEUE_BYTES", 64 * 1024 * 1024, minimum=1024 * 1024)
INGEST_BATCH_BYTES = env.integer("INGEST_BATCH_BYTES", 8 * 1024 * 1024, minimum=64 * 1024)
INGEST_BATCH_SIZE = env.integer("INGEST_BATCH_SIZE", 2000, minimum=1)
INGEST_FLUSH_MS = env.integer("INGEST_FLUSH_MS", 25, minimum=1)
INGEST_DRAIN_S = env.integer("INGEST_DRAIN_S", 3, minimum=1)

# A process that has not reported for this long is dead, and its sessions with it.
REPLICA_HEARTBEAT_S = env.integer("REPLICA_HEARTBEAT_S", 5, minimum=1)
REPLICA_DEAD_AFTER_S = env.integer("REPLICA_DEAD_AFTER_S", 30, minimum=2)
if REPLICA_DEAD_AFTER_S < 2 * REPLICA_HEARTBEAT_S:
    raise ImproperlyConfigured("REPLICA_DEAD_AFTER_S must be at least twice REPLICA_HEARTBEAT_S.")
# How often a process asks the database for what a lost hint did not tell: pending commands, revoked tokens.
HINT_POLL_S = env.integer("HINT_POLL_S", 4, minimum=1)

# How many series (name, kind and labels) of custom metrics one task of one instance may have; more are left out.
CUSTOM_METRIC_SERIES_MAX = env.integer("CUSTOM_METRIC_SERIES_MAX", 100, minimum=1, maximum=10_000)
