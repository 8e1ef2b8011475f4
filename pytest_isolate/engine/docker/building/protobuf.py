"""Messages of protocol buffers, the few that a build needs: fields by number, without generated code. Pure.

Format: protobuf.dev, "Encoding". A message is read into a list of values for each field, as every one may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Value = int | str | bytes
Fields = Mapping[int, list[int | bytes]]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def encode(*fields: tuple[int, Value | Iterable[bytes]]) -> bytes:
    """Write fields by number: a number, a text, bytes, or several messages. What is zero or empty is left out."""
    written = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            if value:
                written += _varint(number << 3 | _VARINT) + _varint(value)
            continue
        pieces = [value] if isinstance(value, (str, bytes)) else value
        for piece in pieces:
            content = piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else piece
            if content or piece is not value:
                written += _varint(number << 3 | _LENGTH) + _varint(len(content)) + content
    return bytes(written)


def decode(message: bytes) -> Fields:
    """Read a message; ValueError where it is none."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            value, at = message[at : at + size], at + size
        elif kind == _LENGTH:
            size, at = _read_varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > len(message):
            raise ValueError("a message that is cut off")
        fields.setdefault(number, []).append(value)
    return fields


def number_in(fields: Fields, number: int) -> int:
    """The number in a field, 0 where it is left out."""
    found = fields.get(number, [0])[-1]
    return found if isinstance(found, int) else 0


def bytes_in(fields: Fields, number: int) -> bytes:
    """The bytes in a field, empty where it is left out."""
    found = fields.get(number, [b""])[-1]
    return found if isinstance(found, bytes) else b""


def text_in(fields: Fields, number: int) -> str:
    """The text in a field, empty where it is left out."""
    return bytes_in(fields, number).decode(errors="replace")


def messages_in(fields: Fields, number: int) -> list[Fields]:
    """The messages of a repeated field."""
    return [decode(found) for found in fields.get(number, ()) if isinstance(found, bytes)]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is written as its complement
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that is cut off")
