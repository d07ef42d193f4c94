"""/metrics: what tasks count, and what the portal tells of itself, as Prometheus reads it."""
