"""Short names for where a task reads and writes, and its settings as text for people. Source: contract 4.3."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tasks_app.models import Task

SOURCE_KEYS: Final = ("topic", "queue", "stream", "url", "schedule", "cron")
SINK_KEYS: Final = ("topic", "queue", "stream", "url", "arn", "table", "database")
RETRY_KEYS: Final = ("attempts", "max_attempts", "retries")


def source_label(task: Task) -> str | None:
    return _short(task.source_name) or _first_of(task.source_config, SOURCE_KEYS)


def sink_label(task: Task) -> str | None:
    sink = _first_sink(task)
    name = sink.get("name")
    config = sink.get("config")
    return _short(name) if isinstance(name, str) and name else _first_of(config, SINK_KEYS)


def retry_attempts(task: Task) -> int:
    """0 without a policy, the number that it names, else 1."""
    if not isinstance(task.retry_policy, dict):
        return 0
    config = task.retry_policy.get("config")
    for value in [config.get(key) for key in RETRY_KEYS] if isinstance(config, Mapping) else ():
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 1


def config_yaml(task: Task) -> str:
    """The definition as YAML to look at; each value is written as JSON, which YAML reads."""
    source = {"kind": task.source_kind, "name": task.source_name, "config": task.source_config or {}}
    settings: dict[str, Any] = {
        "id": task.name,
        "topology_hash": task.topology_hash or None,
        "concurrency": task.concurrency,
        "timeout_s": task.timeout_s,
        "retry": task.retry_policy,
        "source": source if task.source_kind else None,
        "sink": _first_sink(task) or None,
    }
    lines: list[str] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{key}:")
            lines.extend(f"  {inner}: {_scalar(value[inner])}" for inner in sorted(value, key=_reading_order))
        else:
            lines.append(f"{key}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _reading_order(key: str) -> tuple[int, str]:
    """What it is before how it is set up: PostgreSQL keeps the keys of JSON in an order of its own."""
    first = ("kind", "name", "config")
    return (first.index(key) if key in first else len(first), key)


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _first_sink(task: Task) -> dict[str, Any]:
    sinks = task.emit if isinstance(task.emit, list) else []
    return sinks[0] if sinks and isinstance(sinks[0], dict) else {}


def _first_of(config: object, keys: tuple[str, ...]) -> str | None:
    """The first non-empty text under one of the keys."""
    if not isinstance(config, Mapping):
        return None
    for key in keys:
        value = config.get(key)
        if isinstance(value, str) and value:
            return _short(value)
    return None


def _short(name: str) -> str:
    """The name; of the URL of an SQS queue, which agents also give as its name, the last segment."""
    is_sqs = "sqs." in name.partition("://")[2].partition("/")[0]
    return name.rstrip("/").rpartition("/")[2] if is_sqs else name
