"""Tasks that have a given text in their name, for the command palette."""

from agents.selectors.named import first_by_name
from tasks_app.models import Task


def tasks(text: str, limit: int) -> list[Task]:
    """Those whose name begins with the text come first; with their service."""
    rows = Task.objects.select_related("service").only("name", "service__name", "service__environment")
    return first_by_name(rows, "name", text, limit, "source_name")
