"""A WebSocket client's side of RFC 6455, with as little work per frame as Python allows.

Frames are masked with the key zero, which leaves the payload as it is: legal for a client, and the server unmasks as
usual.
"""

import struct
from dataclasses import dataclass

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_ZERO_MASK = bytes(4)
_FIN, _MASKED = 0x80, 0x80
_OPCODE, _LENGTH = 0x0F, 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127


class WireError(Exception):
    """The server sent what this client does not read."""


def header(length: int, opcode: int = TEXT) -> bytes:
    """The header of an unfragmented client frame whose payload has `length` bytes."""
    first = _FIN | opcode
    if length < _LENGTH_16:
        return struct.pack("!BB", first, _MASKED | length) + _ZERO_MASK
    if length < 1 << 16:
        return struct.pack("!BBH", first, _MASKED | _LENGTH_16, length) + _ZERO_MASK
    return struct.pack("!BBQ", first, _MASKED | _LENGTH_64, length) + _ZERO_MASK


def encode(payload: bytes, opcode: int = TEXT) -> bytes:
    return header(len(payload), opcode) + payload


class FrameReader:
    """Cuts a stream of a server into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (opcode, payload) of each frame that is now whole. Raises WireError for fragments and masked frames."""
        if self._rest:
            data = self._rest + data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            first, length = data[at], data[at + 1]
            if not first & _FIN or length & _MASKED:
                raise WireError("The server sent a fragment or a masked frame.")
            start = at + 2
            if length == _LENGTH_16:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start], "big") if start <= end else end
            elif length == _LENGTH_64:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start], "big") if start <= end else end
            if start + length > end:
                break
            found.append((first & _OPCODE, data[start : start + length]))
            at = start + length
        self._rest = data[at:]
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered to the upgrade. `retry_after_s` is None where it gave no such header."""

    status: int
    retry_after_s: float | None


def upgrade_request(host: str, port: int, path: str, token: str, subprotocol: str) -> bytes:
    """The opening handshake; the key is constant, since nobody caches here."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode("ascii")


def upgrade_answer(data: bytes) -> tuple[Answer, bytes] | None:
    """The answer and what follows it, or None while its head is not whole. Raises WireError."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.split(b"\r\n")
    try:
        status = int(lines[0].split(b" ", 2)[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        retry_after = headers.get(b"retry-after")
        return Answer(status, float(retry_after) if retry_after is not None else None), rest
    except (IndexError, ValueError) as error:
        raise WireError(f"No HTTP answer: {lines[0][:80]!r}") from error
