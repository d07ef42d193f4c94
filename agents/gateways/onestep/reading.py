"""Reading JSON from agents: strict first and fast, then as forgiving as a record deserves.

NaN, infinities, lone surrogates and NUL are cleaned, once for a whole frame; what is no JSON at all is a ProtocolError.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from agents.gateways.onestep import wire
from controlplane.common.clean import clean_json

# A longer literal cannot fit any column, and Python refuses to parse 4,300 digits.
_INTEGER_LITERAL_MAX = 400
# Frames from here on are counted before they are read, and read in a thread. Below, the worst costs some 30 ms.
LARGE_FRAME_CHARS = 64 * 1024
# What one frame may hold, counted as `{` and `[`, and as `:` and `,`. A C parser holds every other thread while it
# runs, and the garbage collector with it: 2 million short lists take them half a second, this many a tenth.
CONTAINERS_MAX = 100_000
VALUES_MAX = 400_000
# What a looser reader may still take: text for numbers and truth, numbers for times.
_LOOSENABLE = re.compile(r"Expected `[^`]*\b(?:int|float|bool|datetime)\b[^`]*`, got `(?:str|int|float)`|RFC3339")

T = TypeVar("T")


class ProtocolError(Exception):
    """A frame that cannot be taken. `code` and `closes` go into the error frame. Source: contract 1.8."""

    def __init__(self, code: str, message: str, *, closes: bool) -> None:
        super().__init__(message)
        self.code = code
        self.closes = closes


class UncleanJSON(ProtocolError):
    """JSON that is only readable once it is repaired; see `cleanly`."""


_ENVELOPE = msgspec.json.Decoder(wire.Envelope)
_WHOLE: msgspec.json.Decoder[wire.Whole] = msgspec.json.Decoder(wire.Whole)
_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def parse_envelope(text: str) -> wire.Envelope:
    """The envelope of a frame; its payload stays raw.

    Raises ProtocolError: a closing one for anything else, one that leaves the session open for a frame of more than
    CONTAINERS_MAX objects and lists or VALUES_MAX values. Frames from LARGE_FRAME_CHARS on may take a second, so read
    them in a thread.
    """
    if len(text) >= LARGE_FRAME_CHARS and (
        text.count("{") + text.count("[") > CONTAINERS_MAX or text.count(":") + text.count(",") > VALUES_MAX
    ):
        message = f"A frame may hold {CONTAINERS_MAX:,} objects and lists and {VALUES_MAX:,} values; send less at once."
        raise ProtocolError("invalid_message", message, closes=False)
    # PostgreSQL stores no NUL, so a frame that mentions one takes the slow way.
    if "\\u0000" in text:
        return _envelope(repair(text))
    try:
        return _envelope(text)
    except UncleanJSON:
        return _envelope(repair(text))


def _envelope(raw: str | bytes) -> wire.Envelope:
    return _decode(_ENVELOPE, raw, wire.Envelope, closes=True)


def cleanly(parse: Callable[[msgspec.Raw], T], raw: msgspec.Raw) -> T:
    """Parse; where the JSON itself is at fault, once more from its repaired text.

    `parse` decodes with `decode` and lets UncleanJSON through. Raises ProtocolError.
    """
    try:
        return parse(raw)
    except UncleanJSON:
        return parse(msgspec.Raw(repair(bytes(raw).decode("utf-8", "replace"))))


def decode(raw: msgspec.Raw, kind: type[T], *, closes: bool = False) -> T:
    """Decode typed; where that can help, once more with what a looser reader accepts.

    Raises ProtocolError `invalid_message` that says where it is wrong; UncleanJSON where a repair would help.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return _decode(decoder, raw, kind, closes=closes)  # type: ignore[no-any-return]


def decode_whole(raw: msgspec.Raw) -> wire.Whole | None:
    """Telemetry of one of the frequent sorts in one go; None where it takes another look, record by record."""
    try:
        return _WHOLE.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _decode(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw | str | bytes, kind: type[T], *, closes: bool) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        refused: Exception = error
    if _LOOSENABLE.search(str(refused)):
        try:
            return msgspec.json.decode(raw, type=kind, strict=False)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            refused = error if _is_unclean(error) else refused
    failure = UncleanJSON if _is_unclean(refused) else ProtocolError
    raise failure("invalid_message", str(refused), closes=closes) from refused


def _is_unclean(error: Exception) -> bool:
    # Numbers beyond a double are of the right type, yet no reader takes them.
    return not isinstance(error, msgspec.ValidationError) or str(error).startswith(("Number out", "Integer value out"))


def repair(text: str) -> bytes:
    """The same JSON without what strict readers and databases refuse. Raises a closing ProtocolError if it is none."""
    try:
        loose = json.loads(text, strict=False, parse_int=_parse_integer)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProtocolError("invalid_message", f"Not JSON: {reason}", closes=True) from error
    return msgspec.json.encode(clean_json(loose))


def _parse_integer(literal: str) -> int | float:
    return int(literal) if len(literal) <= _INTEGER_LITERAL_MAX else float("inf")
