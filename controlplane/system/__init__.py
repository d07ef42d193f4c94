"""The portal about itself: its processes, background jobs, storage, configuration and self-check."""
