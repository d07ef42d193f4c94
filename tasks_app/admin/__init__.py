"""The console's pages for everything in `tasks_app`, one module per noun."""

from tasks_app.admin import task

__all__ = ["task"]
