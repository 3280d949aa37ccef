"""Messages of protocol buffers, read and written field by field, as far as the exporter's graphs are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MessageError(Exception):
    """A message is damaged, or not one of the exporter's; the text says why."""


def fields(data: bytes, known: Mapping[int, str]) -> list[tuple[str, Any]]:
    """The fields of a message in their order: names, and whole numbers or bytes.

    known: names by number. In one loop, with the most frequent case first: a graph has some ten thousand fields.
    Raises MessageError for a field that is not known, and MessageError or IndexError for a damaged message.
    """
    found: list[tuple[str, Any]] = []
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        position += 1
        if tag >= 128:
            tag, position = varint(data, position - 1)
        name = known.get(tag >> 3)
        if name is None:
            raise MessageError(f"it has a field, {tag >> 3}, that the exporter does not write")
        kind = tag & 7
        if kind == _BYTES:
            length = data[position]
            position += 1
            if length >= 128:
                length, position = varint(data, position - 1)
        elif kind == _VARINT:
            value, position = varint(data, position)
            found.append((name, value))
            continue
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise MessageError("it is damaged")
        found.append((name, data[position : position + length]))
        position += length
    if position > end:
        raise MessageError("it is damaged")
    return found


def varint(data: bytes, position: int) -> tuple[int, int]:
    """A whole number in base 128, and where it ends."""
    result = shift = 0
    while shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
    raise MessageError("it is damaged")


def varints(data: bytes) -> list[int]:
    found, position = [], 0
    while position < len(data):
        value, position = varint(data, position)
        found.append(value)
    return found


def as_number(value: Any) -> int:
    """A field's value that must be a whole number."""
    if not isinstance(value, int):
        raise MessageError("it is damaged")
    return value


def as_bytes(value: Any) -> bytes:
    """A field's value that must be bytes."""
    if not isinstance(value, bytes):
        raise MessageError("it is damaged")
    return value


def field(number: int, value: int | bytes) -> bytes:
    """A field as a part of a message: a whole number, or bytes."""
    if isinstance(value, int):
        return _in_base_128(number << 3 | _VARINT) + _in_base_128(value)
    return _in_base_128(number << 3 | _BYTES) + _in_base_128(len(value)) + value


def _in_base_128(value: int) -> bytes:
    digits = bytearray()
    while value >= 128:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)
