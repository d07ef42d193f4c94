from django.db import migrations

from controlplane.common.operations import IndexPartitions

_LETTERS = r"0-9A-Za-z\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u1FFF\uFF10-\uFF19\uFF21-\uFF3A\uFF41-\uFF5A"
_SINGLE = (
    r"\u3005-\u3007\u3041-\u3096\u309D-\u309F\u30A1-\u30FA\u30FC-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7A3"
    r"\uF900-\uFA6D\uFA70-\uFAD9\U00020000-\U0002FA1F"
)
_TEXT = (
    "left(message, 2000) || ' ' || left(exception_type, 255) || ' ' || left(task_name, 255) || ' ' || "
    "left(failure_kind, 64) || ' ' || left(actor, 255) || ' ' || left(traceback, 500)"
)
_WORDS = rf"'([{_LETTERS}]+|[{_SINGLE}]|^)[^{_LETTERS}{_SINGLE}]*', 'x\1 ', 'g'"
_NOTABLE = "NOT (kind IN ('task.started', 'task.succeeded'))"


class Migration(migrations.Migration):
    """Read by the search of the history. Partial: what healthy work writes costs nothing at ingest."""

    atomic = False

    dependencies = [
        ("agents", "0029_index_orderings"),
    ]

    operations = [
        IndexPartitions(
            "Event",
            "event_words",
            f"USING gin (to_tsvector('simple', regexp_replace({_TEXT}, {_WORDS}))) WHERE {_NOTABLE}",
        ),
    ]
