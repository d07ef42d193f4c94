"""`GET /api/v1/ui/stream`: what happens, as it happens, to whoever may see it."""
