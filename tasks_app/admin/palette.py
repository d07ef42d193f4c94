"""What the command palette finds of the work, for whoever may see it."""

from collections.abc import Iterator

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from controlplane.console.formatting import admin_url
from controlplane.console.palette import SHOWN, Entry, Section
from tasks_app.selectors import named


def work(request: HttpRequest, text: str) -> Iterator[Section]:
    if not request.user.has_perm("tasks_app.view_task"):
        return
    yield Section(
        _("Tasks"),
        [
            Entry(task.name, admin_url("tasks_app_task_change", task.pk), "account_tree", str(task.service))
            for task in named.tasks(text, SHOWN)
        ],
    )
