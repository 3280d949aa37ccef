"""Changes of files: bytes of any file, and values, keys and texts of JSON. All by a random generator that is given."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

_NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64, 10**8, 10**9, 10**400)
_VALUES: tuple[Any, ...] = (
    None, True, False, "", "a" * 5000, "../x", "/dev/zero", "\0", "\x1b[2J", "\ud800", "(a+)+$", "[]", 1e308, -1e-308,
    float("inf"), float("nan"), [], {}, [[]] * 50, {"": None}, ["q"] * 300, *_NUMBERS,
)  # fmt: skip
_PIECES = (*(bytes([b]) for b in b'\0\xff[]{}",:\n-'), b"9" * 30, b"\\u0000", b"NaN", b"PK\5\6")


def mutate_bytes(random_: random.Random, data: bytes) -> bytes:
    """A few changes anywhere: bits, bytes, numbers, parts that are cut, doubled, moved or exchanged."""
    result = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16))):
        position = random_.randrange(len(result) + 1)
        # the front of a file says the most of it
        if random_.random() < 0.3:
            position = random_.randrange(min(len(result), 256) + 1)
        length = random_.choice((1, 2, 4, 8, 64, random_.randrange(1, 1 + len(result) // 2 + 1)))
        match random_.randrange(8):
            case 0 if position < len(result):
                result[position] ^= 1 << random_.randrange(8)
            case 1:
                result[position : position + 1] = bytes([random_.randrange(256)])
            case 2:
                del result[position : position + length]
            case 3:
                del result[position:]
            case 4:
                result[position:position] = result[position : position + length]
            case 5:
                result[position:position] = random_.choice(_PIECES) * random_.choice((1, 1, 100))
            case 6:
                number = random_.choice(_NUMBERS[:8]) & (2**64 - 1)
                size = random_.choice((1, 2, 4, 8))
                result[position : position + size] = struct.pack("<Q", number)[:size]
            case _:
                other = random_.randrange(len(result) + 1)
                result[position : position + length] = result[other : other + length]
    return bytes(result)


def mutate_json(random_: random.Random, data: bytes) -> bytes:
    """A few changes of values, anywhere in a JSON text; some of the text's bytes instead."""
    if random_.random() < 0.25:
        return mutate_bytes(random_, data)
    value = json.loads(data)
    for _ in range(random_.choice((1, 1, 2, 3))):
        value = _change(random_, value)
    return json.dumps(value).encode()


def _change(random_: random.Random, value: Any) -> Any:
    """The value with one change, in it or of it."""
    if isinstance(value, (dict, list)) and value and random_.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random_.choice(keys)
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        match random_.randrange(10):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, dict):
                copy[random_.choice(("", "x", "\x1b", "../x", str(key) * 2))] = copy[key]
            case 1:
                copy.insert(key, copy[key])
            case 2:
                copy[key] = copy[random_.choice(keys)]
            case _:
                copy[key] = _change(random_, copy[key])
        return copy
    if isinstance(value, str) and value and random_.random() < 0.3:
        return mutate_bytes(random_, value.encode(errors="replace")).decode(errors="replace")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and random_.random() < 0.5:
        return random_.choice((value + 1, value - 1, -value, value * 1000, *_NUMBERS))
    return random_.choice(_VALUES)


def mutate_json_lines(random_: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    index = random_.randrange(len(lines))
    if lines[index].strip():
        lines[index] = mutate_json(random_, lines[index])
    return b"\n".join(lines)
