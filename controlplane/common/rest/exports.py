"""Lists as files, CSV or one JSON document a line: whole, in any size, a batch at a time.

CSV is RFC 4180 in UTF-8 with a byte order mark, without which Excel takes Chinese for Latin. What a spreadsheet would
run as a formula gets an apostrophe before it, and nested values are JSON.
"""

import csv
import enum
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from controlplane.common.rest.sparse import names_of, sparse
from controlplane.common.rest.standing import Stands
from controlplane.common.rest.streaming import FileStream, take_slot
from controlplane.common.serving import hang_up_of

BATCH_ROWS: Final = 500
BYTE_ORDER_MARK: Final = "\ufeff"
# What makes a spreadsheet calculate: also the wide signs that Chinese and Japanese ones take for the narrow.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class FileFormat(enum.StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES: Final = {FileFormat.CSV: "text/csv", FileFormat.NDJSON: "application/x-ndjson"}
_FORMATS: Final = {media_type: name for name, media_type in _MEDIA_TYPES.items()}


def wanted_format(request: Request, query: Mapping[str, Any]) -> FileFormat | None:
    """The file that a request for a list wants, by its `format` or else by its Accept; None where it wants a page."""
    if "format" in query:
        return FileFormat(query["format"]) if query["format"] in set(FileFormat) else None
    accepted = request._request.get_preferred_type(["application/json", *_FORMATS])  # noqa: SLF001 -- Django's reading
    return _FORMATS.get(accepted or "")


@dataclass(frozen=True, slots=True)
class Export:
    """A whole list: what `item` serializes, in batches that are read when they are asked for.

    `fields` are those that are written, all where there are none. `context_of` gives the serializer of a batch what it
    needs beside it.
    """

    name: str
    item: type[serializers.Serializer[Any]]
    batches: Iterable[Sequence[Any]]
    fields: Sequence[str] = ()
    context_of: Callable[[Any], Mapping[str, Any]] | None = None

    def records(self) -> Iterator[list[Mapping[str, Any]]]:
        for batch in self.batches:
            context = dict(self.context_of(batch)) if self.context_of else {}
            yield list(sparse(self.item, self.fields, batch, many=True, context=context).data)


def export(request: Request, file_format: FileFormat, exported: Export, *, stands: Stands) -> HttpResponseBase:
    """The answer that streams the list, as long as the login of the request stands. Raises TooManyExports."""
    parts = csv_parts(exported) if file_format == FileFormat.CSV else ndjson_parts(exported)
    return _file(request, file_format, exported.name, parts, stands=stands)


def export_lines(
    request: Request, name: str, batches: Iterable[Sequence[Mapping[str, Any]]], *, stands: Stands
) -> HttpResponseBase:
    """The same of records of several kinds, one JSON document a line; batches are read when they are asked for."""
    parts = (b"".join(_line(record) for record in batch) for batch in batches)
    return _file(request, FileFormat.NDJSON, name, parts, stands=stands)


def _file(
    request: Request, file_format: FileFormat, name: str, parts: Iterator[bytes], *, stands: Stands
) -> HttpResponseBase:
    moment = timezone.now().strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "Content-Type": f"{file_format.media_type}; charset=utf-8",
        "Vary": "Accept",
        "Content-Disposition": f'attachment; filename="{name}-{moment}.{file_format}"',
        # A proxy that collects it all before it passes it on would hide that the client left.
        "X-Accel-Buffering": "no",
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers)
    # Nothing that could stand at the end of a CSV tells an error from a record: there the connection is cut.
    stream = FileStream(
        parts,
        take_slot(str(request.user.pk)),
        on_error=None if file_format == FileFormat.CSV else _BROKEN_OFF,
        stands=stands,
        hang_up=hang_up_of(request._request),  # noqa: SLF001 -- DRF offers no other way to the scope
    )
    return StreamingHttpResponse(stream, headers=headers)


def ndjson_parts(exported: Export) -> Iterator[bytes]:
    for records in exported.records():
        yield b"".join(_line(record) for record in records)


# The last line of a file that could not be finished. No record has a key of that name.
_BROKEN_OFF: Final = b'{"error": {"code": "export_interrupted", "detail": "the export broke off; ask again"}}\n'


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        return _json(record).encode() + b"\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair, which SQLite stores: escaped, it is still JSON.
        return _json(record, ensure_ascii=True).encode() + b"\n"


def _json(value: object, *, ensure_ascii: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, cls=JSONEncoder)


def csv_parts(exported: Export) -> Iterator[bytes]:
    names = [name for name in names_of(exported.item) if not exported.fields or name in exported.fields]
    yield (BYTE_ORDER_MARK + _csv([names])).encode()
    for records in exported.records():
        yield _csv([[cell(record[name]) for name in names] for record in records]).encode("utf-8", "replace")


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def cell(value: Any) -> str:
    """One value as a spreadsheet may read it: nothing for null, JSON for what nests, and no formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    if isinstance(value, (dict, list, bool)):
        return _json(value)
    return str(value)
