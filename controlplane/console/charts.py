"""What a chart of the console shows, and the answer that gives it to the browser.

A page includes `admin/console/chart.html` with the URL of a view that answers `chart_response(chart)`;
static/console/charts.js draws it, and writes the same figures as a table for whoever reads no picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import JsonResponse

from controlplane.console.formatting import Words


@dataclass(frozen=True, slots=True)
class Line:
    """One series: a value for each time of the chart, None where nothing is known (a gap, which is no zero).

    `tone` is one of the tones of formatting.py (good, busy, warn, bad, mute), or "" for the next colour of the palette.
    """

    key: str
    label: Words
    values: Sequence[float | None]
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Values over buckets of `width_s` seconds that begin at `times`, oldest first.

    `unit` is "count", "per_s", "ms", "s" or "percent". `note` is said beside the age of the figures.
    """

    times: Sequence[datetime]
    width_s: int
    unit: str
    lines: Sequence[Line]
    note: Words = ""


def chart_response(chart: Chart, *, at: datetime) -> JsonResponse:
    """`at` is when the figures were read; the page tells how old they are."""
    return JsonResponse(
        {
            "at": at.isoformat(),
            "width_s": chart.width_s,
            "unit": chart.unit,
            "note": str(chart.note),
            "times": [int(moment.timestamp()) for moment in chart.times],
            "lines": [
                {"key": line.key, "label": str(line.label), "tone": line.tone, "values": list(line.values)}
                for line in chart.lines
            ],
        }
    )
