"""The stream of what happens, `/api/v1/ui/stream`."""

from controlplane.common import env

# Streams that one process holds at most, and of them those of one user with all tokens.
STREAMS_MAX = env.integer("STREAMS_MAX", 500, minimum=1)
STREAMS_PER_USER_MAX = env.integer("STREAMS_PER_USER_MAX", 20, minimum=1)
# What may wait for one client. A reader that lets it fill is cut, and goes on from where it was when it comes again.
STREAM_QUEUE_MESSAGES = env.integer("STREAM_QUEUE_MESSAGES", 1000, minimum=500)
STREAM_QUEUE_BYTES = env.integer("STREAM_QUEUE_BYTES", 2 * 1024 * 1024, minimum=1024 * 1024)

# How often a process with clients looks for what is new, and how many events it reads at once.
STREAM_POLL_S = 0.5
STREAM_BATCH = 200
# Source: contract 6.
STREAM_KEEPALIVE_S = 15.0
# How soon a client is cut whose login ended.
STREAM_RECHECK_S = 10.0
# A look that is older than this, or an event that is withheld for longer, makes the stream paused.
STREAM_PAUSED_AFTER_S = 3.0
# How long a client that is cut may take to read why.
STREAM_CUT_GRACE_S = 2.0
# How long a client is asked to wait before it comes again; after a stop, up to so long, so that not all come at once.
STREAM_RETRY_MS = 3000
# How long a client that catches up may take for what was read for it.
STREAM_STALLED_AFTER_S = 60.0
# How long a process goes on looking when its last client left: a page that is loaded anew comes back at once.
STREAM_LINGER_S = 10.0

# For how long a process shows all who look at the front page what it read for the first; 0 reads anew each time.
HOME_SNAPSHOT_S = 2.0
