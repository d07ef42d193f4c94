"""The text format of Prometheus, compressed as it is written. Source: Prometheus, Exposition formats, 0.0.4."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Lines that are compressed in one go, and bytes that are decompressed in one.
_LINES = 2000
_PIECE_BYTES = 256 * 1024
_GZIP = zlib.MAX_WBITS + 16
# The text of a large fleet shrinks sixfold at the cheapest level, and hardly more at others.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Exposition:
    """A finished text, as one gzip member."""

    compressed: bytes

    def pieces(self) -> Iterator[bytes]:
        """The plain text, in pieces of at most _PIECE_BYTES."""
        inflate = zlib.decompressobj(_GZIP)
        rest = self.compressed
        while piece := inflate.decompress(rest, _PIECE_BYTES):
            yield piece
            rest = inflate.unconsumed_tail


class Writer:
    """Takes text family by family; what it holds is compressed."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._parts: list[bytes] = []

    def family(self, name: str, kind: str, documentation: str, lines: Iterable[str]) -> None:
        """Write HELP and TYPE of a family, and its samples as `sample` makes them."""
        self.write(f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n")
        remaining = iter(lines)
        while some := "".join(islice(remaining, _LINES)):
            self.write(some)

    def write(self, text: str) -> None:
        self._parts.append(self._deflate.compress(text.encode("utf-8", "replace")))

    def finished(self) -> Exposition:
        return Exposition(b"".join([*self._parts, self._deflate.flush()]))


def escaped(value: str) -> str:
    """A label's value between its quotes."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def sample(name: str, labels: str, value: float) -> str:
    """One line; `labels` are name="escaped value" with commas between."""
    return f"{name}{{{labels}}} {value}\n"
