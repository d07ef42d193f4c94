"""The targets of a fan-out as rows: on the page, cut to what is shown, and as a file."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Cast, Left
from django.http import HttpResponse
from django.utils.translation import gettext

from agents.models import FanOut, FanOutTarget
from agents.selectors.fan_outs import GONE, state_of, targets_in, targets_of
from agents.words import error_text, reason_words
from controlplane.common.rest.exports import cell

TARGETS_SHOWN = 50
RESULT_CHARS = 160
EXPORTED_RESULT_CHARS = 1000
_COLUMNS = (
    "instance_id",
    "node_name",
    "service",
    "environment",
    "state",
    "since",
    "duration_ms",
    "why",
    "code",
    "result",
    "command_id",
)


class CountedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of rows whose number is known already."""

    def __init__(self, rows: Any, per_page: int, *, count: int) -> None:
        super().__init__(rows, per_page)
        self.__dict__["count"] = count


@dataclass(frozen=True, slots=True)
class Row:
    """A target as it stands now. `why` says why nothing was sent, why it waits or what went wrong, in words."""

    target: FanOutTarget
    state: str
    since: datetime
    why: str
    code: str
    result: str

    @property
    def has_command(self) -> bool:
        return self.target.command is not None

    @property
    def duration_ms(self) -> int | None:
        return self.target.command.duration_ms if self.target.command else None


def _with_results(rows: QuerySet[FanOutTarget], chars: int) -> QuerySet[FanOutTarget]:
    """The rows with the beginning of each result as text: results may be large, and the database cuts them."""
    return rows.annotate(result_text=Left(Cast(F("command__result"), TextField()), chars))


def page_of(fan_out: FanOut, shown: str, count: int, number: str | None) -> Page[FanOutTarget]:
    """A page of the targets in this state or group of states, of which there are `count`.

    Two queries: which they are, and what they are, so that rows before the page are passed by their keys alone.
    """
    keys = CountedPaginator(targets_in(fan_out, shown).values_list("pk", flat=True), TARGETS_SHOWN, count=count)
    page = keys.get_page(number)
    page.object_list = list(_with_results(targets_of(fan_out).filter(pk__in=list(page.object_list)), RESULT_CHARS + 1))
    return page


def rows_of(fan_out: FanOut, targets: Iterable[Any]) -> list[Row]:
    """The rows of these targets, which carry `result_text`. No query of its own."""
    return [_row(fan_out, target, RESULT_CHARS) for target in targets]


def _row(fan_out: FanOut, target: Any, chars: int) -> Row:
    command = target.command if target.command_id is not None else None
    state = state_of(target.outcome, command.status if command else None)
    result = target.result_text if target.result_text not in (None, "null", "{}", "[]") else ""
    return Row(
        target=target,
        state=state,
        since=command.updated_at if command else fan_out.created_at,
        why=_why(target, state),
        code=command.error_code if command else target.reason_code,
        result=result if len(result) <= chars else result[:chars] + "…",
    )


def _why(target: FanOutTarget, state: str) -> str:
    """In words: of what is over, what went wrong; of what is under way, what it waits for."""
    if state == GONE:
        return gettext("Its command is no longer kept.")
    if target.command is None:
        return reason_words(target.reason_code)
    if target.command.is_open:
        waits = {
            "pending": reason_words(target.reason_code) or gettext("It waits to be sent."),
            "dispatched": gettext("It was sent; the agent has not confirmed it yet."),
            "accepted": gettext("The agent works on it."),
        }
        return waits[target.command.status]
    return error_text(target.command)


def csv_answer(fan_out: FanOut) -> HttpResponse:
    """All targets of a fan-out with what became of them, as a file for a spreadsheet."""
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{fan_out.public_id}.csv"'
    # Spreadsheets take a file without this mark for one in an old encoding.
    answer.write("\ufeff")
    writer = csv.writer(answer)
    writer.writerow(_COLUMNS)
    for target in _with_results(targets_of(fan_out), EXPORTED_RESULT_CHARS + 1).iterator(chunk_size=1000):
        row = _row(fan_out, target, EXPORTED_RESULT_CHARS)
        service = target.instance.service
        values = (
            str(target.instance_id),
            target.instance.node_name,
            service.name,
            service.environment,
            row.state,
            row.since.isoformat(),
            row.duration_ms,
            row.why,
            row.code,
            row.result,
            target.command.public_id if target.command else "",
        )
        writer.writerow([cell(value) for value in values])
    return answer
