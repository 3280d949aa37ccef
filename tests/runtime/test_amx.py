"""The warning where onnxruntime's int8 is known to be wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from edge_lorahub import EdgeLorahubWarning, load
from edge_lorahub.export import export
from edge_lorahub.machine.onnx_runtime import int8_is_wrong, ort


@pytest.mark.parametrize(
    ("version", "flags", "wrong"),
    [
        ("1.23.2", "flags : fma amx_bf16 amx_tile amx_int8", True),
        ("1.24.1", "flags : amx_int8", True),
        ("1.25.0", "flags : amx_int8", False),
        ("1.32.0", "flags : amx_int8", False),
        ("1.23.2", "flags : avx512_vnni", False),
    ],
)
def test_where_it_is_wrong(version: str, flags: str, wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "__version__", version)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    int8_is_wrong.cache_clear()
    assert int8_is_wrong() == wrong
    monkeypatch.undo()
    int8_is_wrong.cache_clear()


def test_a_bundle_in_int8_is_warned_about_there(
    checkpoint: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(checkpoint, tmp_path / "int8", precision="int8")
    monkeypatch.setattr("edge_lorahub.runtime.session.int8_is_wrong", lambda: True)
    with pytest.warns(EdgeLorahubWarning, match=r"computes int8 wrongly on this processor .with AMX.*1\.25 or newer"):
        load(tmp_path / "int8", threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(bundle, threads=1)
