"""Where a page of the console stands: the section of the sidebar, the list, the row."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.db.models.options import Options
from django.template import Context
from django.template.loader import render_to_string
from django.utils.functional import Promise
from unfold.templatetags.unfold import header_title

from controlplane.console.formatting import Words, admin_url


@lru_cache(maxsize=1)
def _sections() -> Mapping[str, Words]:
    """The title of each section of the sidebar, by the addresses of its lists."""
    groups = settings.UNFOLD["SIDEBAR"]["navigation"]
    return {str(item["link"]): group["title"] for group in groups if "title" in group for item in group["items"]}


def console_title(context: Context) -> str:
    """The way to the page. Unfold begins it with the app of a model, which tells operators nothing."""
    row: Model | str | Promise | None = context.get("original") or context.get("object")
    row = row if isinstance(row, Model) else None
    model: Options[Any] | None = context.get("opts") or (row._meta if row is not None else None)
    if model is None:
        return str(header_title(context))
    list_url = admin_url(f"{model.app_label}_{model.model_name}_changelist")
    parts: list[dict[str, Any]] = [
        {"title": _sections().get(list_url, model.app_config.verbose_name)},
        {"title": model.verbose_name_plural, "link": list_url},
    ]
    if row is not None and row.pk is not None:
        parts.append({"title": row, "link": admin_url(f"{model.app_label}_{model.model_name}_change", row.pk)})
    return render_to_string("unfold/helpers/header_title.html", {"parts": parts})
