"""The views that were saved of a list."""

from typing import Any

from django import template
from django.db.models.options import Options
from django.http import HttpRequest

from agents.selectors.saved_views import saved_views

register = template.Library()


@register.inclusion_tag("admin/console/saved_views.html", takes_context=True)
def views_of_list(context: template.RequestContext, opts: "Options[Any]", query: str = "") -> dict[str, object]:
    """Views of the list of a model; `query` is what the list is narrowed to now. One query."""
    request: HttpRequest = context["request"]
    found = list(saved_views(opts.label_lower, person=request.user))  # type: ignore[arg-type]
    kept = {name: request.GET.getlist(name) for name in request.GET}
    return {
        "request": request,
        "list_name": opts.label_lower,
        "list_url": request.path,
        "query": query or request.GET.urlencode(),
        "is_narrowed": any(any(values) for values in kept.values()),
        "views": found,
        "person_id": request.user.pk,
        "is_superuser": getattr(request.user, "is_superuser", False),
        "csrf_token": context.get("csrf_token", ""),
    }
