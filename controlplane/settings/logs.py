"""Logging: standard library loggers rendered by structlog, as text for people or JSON for programs."""

import logging
from typing import Any

import structlog

from controlplane.common import env

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "text", ("text", "json"))

_BEFORE = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_RENDERER: Any = (
    structlog.processors.JSONRenderer()
    if LOG_FORMAT == "json"
    else structlog.dev.ConsoleRenderer(
        colors=False,
        pad_event_to=0,
        # The default prints the local variables of every frame, secrets among them.
        exception_formatter=structlog.dev.plain_traceback,
    )
)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's tells anything: it reports an error for each upgrade answered with 401 or 503."""
    return record.msg != "ASGI callable returned without completing handshake."


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "portal": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "foreign_pre_chain": _BEFORE,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDERER],
        }
    },
    "filters": {"news": {"()": "django.utils.log.CallbackFilter", "callback": _is_news}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "portal"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # One line per background job and second would bury everything else.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
        # A refused form or request is news for whoever sent it.
        "django.request": {"level": "ERROR"},
        "uvicorn.access": {"level": "WARNING"},
        "uvicorn.error": {"level": "WARNING", "filters": ["news"]},
    },
}
