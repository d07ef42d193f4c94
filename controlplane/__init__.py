"""Composition of the portal: settings, URLs, ASGI, Celery, access, health, management commands."""

from controlplane.celery import app as celery_app

__all__ = ["celery_app"]
