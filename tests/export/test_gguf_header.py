"""GGUF files that are damaged, hostile or not GGUF: one line of error, and no more memory than the file is worth."""

from __future__ import annotations

import struct
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf, write_gguf

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingDependencyError, MissingPathError
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.export.gguf.header import read_header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("whole") / "m.gguf").read_bytes()


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(tensors: int = 0, keys: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def line(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 500
    return message


def tensor(
    name: str = "t", shape: tuple[int, ...] = (32,), kind: int = 0, start: int = 0, dimensions: int | None = None
) -> bytes:
    count = len(shape) if dimensions is None else dimensions
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, start)


LONG = 2**63
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a GGUF file"),
    "another format": (b"\x89PNG" + bytes(100), "not a GGUF file"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "version 1": (header(version=1), "version 1 is not supported, only 2 and 3"),
    "version 4": (header(version=4), "version 4"),
    "cut in the counts": (header()[:12], "it ends within its header"),
    "tensors beyond the file": (header(tensors=LONG), "only 0 bytes are left"),
    "keys beyond the file": (header(keys=LONG), "only 0 bytes are left"),
    "a key beyond the file": (header(keys=1, rest=struct.pack("<Q", LONG) + bytes(20)), "it ends within a key"),
    "a string beyond the file": (
        header(keys=1, rest=text("k") + struct.pack("<IQ", 8, LONG) + bytes(20)),
        "it ends within k",
    ),
    "strings beyond the file": (
        header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 8, LONG)),
        "strings in k",
    ),
    "numbers beyond the file": (header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 4, LONG)), "k has"),
    "a list in a list": (header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 9, 1)), "nested type 9"),
    "an unknown type": (header(keys=1, rest=text("k") + struct.pack("<IQ", 99, 0)), "unknown type 99"),
    "a key twice": (header(keys=2, rest=(text("k") + struct.pack("<IQ", 10, 1)) * 2), "'k' is there twice"),
    "not utf-8": (header(keys=1, rest=struct.pack("<Q", 2) + b"\xff\xfe" + bytes(12)), "not UTF-8"),
    "an unknown tensor type": (header(tensors=1, rest=tensor(kind=250) + bytes(200)), "type 250, which gguf"),
    "a removed tensor type": (header(tensors=1, rest=tensor(kind=4) + bytes(200)), "type 4, which gguf"),
    "too many dimensions": (header(tensors=1, rest=tensor(dimensions=2**31) + bytes(200)), "dimensions"),
    "no dimension": (header(tensors=1, rest=tensor(dimensions=0) + bytes(200)), "0 dimensions"),
    "a dimension of 0": (header(tensors=1, rest=tensor(shape=(0, 4)) + bytes(200)), "shape (4, 0)"),
    "a product that overflows": (header(tensors=1, rest=tensor(shape=(2**32, 2**32))), "shape"),
    "rows of half a block": (header(tensors=1, rest=tensor(shape=(33,), kind=8) + bytes(200)), "no multiple of Q8_0"),
    "a tensor beyond the file": (header(tensors=1, rest=tensor() + bytes(100)), "it was cut off"),
    "a start beyond the file": (header(tensors=1, rest=tensor(start=LONG) + bytes(200)), "it was cut off"),
    "a start not aligned": (header(tensors=1, rest=tensor(start=4) + bytes(300)), "not aligned"),
    "tensors in one place": (header(tensors=2, rest=tensor() + tensor("u") + bytes(300)), "within another one"),
    "a tensor twice": (header(tensors=2, rest=tensor() + tensor(start=128) + bytes(400)), "'t' is there twice"),
    "an alignment of 0": (
        header(keys=1, rest=text("general.alignment") + struct.pack("<II", 4, 0)),
        "power of two",
    ),
    "an alignment that is text": (
        header(keys=1, rest=text("general.alignment") + struct.pack("<I", 8) + text("32")),
        "power of two",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_one_line(case: str, tmp_path: Path) -> None:
    data, expected = CASES[case]
    assert expected in line(tmp_path / "m.gguf", data)


def test_a_file_cut_anywhere_is_refused(whole: bytes, tmp_path: Path) -> None:
    for length in [*range(0, 2000, 37), *range(2000, len(whole), 4999), len(whole) - 1]:
        line(tmp_path / "m.gguf", whole[:length])


def test_no_changed_byte_ends_in_a_traceback(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for position in range(4, 1200, 7):
        for value in (0, 0xFF):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EdgeLorahubWarning)
                with suppress(CheckpointError):
                    open_gguf(path)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_no_file(make: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    make(path)
    with pytest.raises((CheckpointError, EdgeLorahubWarning, MissingPathError), match=r"m\.gguf"):
        open_gguf(path)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingDependencyError, match=r"edge-lorahub\[gguf\]"):
        open_gguf(tmp_path / "m.gguf")


def test_the_header_is_that_of_the_package(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(whole)
    reader = gguf.GGUFReader(path)
    found = read_header(path)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF."):
            value, expected = found.fields[key], field.contents()
            assert (value if isinstance(value, list) else getattr(value, "tolist", lambda v=value: v)()) == (
                pytest.approx(expected) if isinstance(expected, float) else expected
            ), key
    assert {
        t.name: (t.tensor_type, tuple(t.shape[::-1].tolist()), t.data_offset, t.n_bytes) for t in reader.tensors
    } == {name: (place.kind, place.shape, place.start, place.size) for name, place in found.tensors.items()}
