"""Sources that cannot be exported: the line says what is there, and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from decoders import TINY, write_checkpoint

from edge_lorahub.errors import MissingPathError
from edge_lorahub.export import export
from edge_lorahub.hub import resolve as hub

Fails = Callable[..., str]


def only(checkpoint: Path, folder: Path, *names: str, config: bool = True) -> Path:
    """A checkpoint's folder with files of those names for its weights."""
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(b"weights")
    if not config:
        (folder / "config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["pytorch_model.bin"],
            ["only pytorch_model.bin; convert", "from_pretrained('{}').save_pretrained('converted')"],
        ),
        (
            ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
            ["only pytorch_model-00001-of-00002.bin;"],
        ),
        (["tf_model.h5"], ["only tf_model.h5; convert", "from_pretrained('{}', from_tf=True)"]),
        (["flax_model.msgpack"], ["only flax_model.msgpack; convert", ", from_flax=True"]),
        (["model.fp16.safetensors"], ["only model.fp16.safetensors; copy or rename it to model.safetensors"]),
        (["model.fp16-00001-of-00002.safetensors"], ["from_pretrained('{}', variant='fp16')"]),
        (
            ["model-00001-of-00002.safetensors"],
            ["though model-00001-of-00002.safetensors is; copy model.safetensors.i"],
        ),
        (["flan.safetensors"], ["only flan.safetensors; if these are all of the model's weights"]),
        (["b-q4.gguf", "a-q4.gguf"], ["is there, but GGUF files: name one of them, {}/a-q4.gguf"]),
        ([], ["neither model.safetensors nor model.safetensors.index.json is there; is it a checkpoint?"]),
    ],
)
def test_weights_of_other_kinds(
    names: list[str], words: list[str], checkpoint: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = only(checkpoint, tmp_path / "folder", *names)
    line = fails("export", folder, tmp_path / "out")
    for word in words:
        assert word.format(folder) in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


@pytest.mark.parametrize(
    ("names", "how"),
    [("pytorch_model.bin", ""), ("model.fp16-00001-of-00002.safetensors", ", variant='fp16'")],
)
def test_weights_are_converted_by_the_class_of_their_kind(
    names: str, how: str, checkpoint: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = only(write_checkpoint(tmp_path / "whole", TINY["llama"]), tmp_path / "decoder", names)
    line = fails("export", folder, tmp_path / "out")
    assert f"import AutoModelForCausalLM as M; M.from_pretrained('{folder}'{how})" in line
    line = fails("export", only(checkpoint, tmp_path / "t5", names), tmp_path / "out")
    assert "import AutoModelForSeq2SeqLM as M; " in line
    line = fails("export", only(checkpoint, tmp_path / "bare", names, config=False), tmp_path / "out")
    assert line.endswith("copy the checkpoint's config.json there")


def test_folders_of_other_kinds(
    checkpoint: Path, bundle: Path, module_folders: list[Path], tmp_path: Path, fails: Fails
) -> None:
    out = tmp_path / "out"
    assert "no config.json, but manifest.json: it is a bundle already" in fails("export", bundle, out)
    assert "it is an adapter; export the model that it was trained on" in fails("export", module_folders[0], out)
    gguf = only(checkpoint, tmp_path / "gguf", "q4.gguf", config=False)
    assert f"no config.json, but GGUF files: name one of them, {gguf}/q4.gguf" in fails("export", gguf, out)
    assert "q4.gguf: " in fails("export", gguf / "q4.gguf", out)
    file = checkpoint / "model.safetensors"
    assert f"name the checkpoint's folder, {checkpoint}" in fails("export", file, out)
    (tmp_path / "empty").mkdir()
    assert "empty: no config.json; is it a checkpoint?" in fails("export", tmp_path / "empty", out)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_leads_nowhere(name: str, checkpoint: Path, tmp_path: Path, fails: Fails) -> None:
    """What is left of the Hub's cache where a snapshot was copied without its blobs."""
    shutil.copytree(checkpoint, tmp_path / "copied")
    (tmp_path / "copied" / name).unlink()
    (tmp_path / "copied" / name).symlink_to("../../blobs/0123")
    line = fails("export", tmp_path / "copied", tmp_path / "out")
    assert f"{name}: a link to ../../blobs/0123, which is not there" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="whoever may read everything")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_without_permission(name: str, checkpoint: Path, tmp_path: Path, fails: Fails) -> None:
    """safetensors and tokenizers call such a file missing, or damaged."""
    shutil.copytree(checkpoint, tmp_path / "folder")
    (tmp_path / "folder" / name).chmod(0)
    assert fails("export", tmp_path / "folder", tmp_path / "out").endswith(f"folder/{name}: Permission denied")


def test_a_repository_that_has_only_other_weights(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is downloaded leaves the others out, so their names are asked for."""
    folder = only(checkpoint, tmp_path / "snapshot")
    monkeypatch.setattr(hub, "_download", lambda *_: folder)
    monkeypatch.setattr(
        "edge_lorahub.export.source.refusals.repository_files", lambda *_: ["config.json", "pytorch_model.bin"]
    )
    with pytest.raises(MissingPathError, match=r"someone/t5: neither .* only pytorch_model.bin; convert the weights"):
        export("someone/t5", tmp_path / "out")
    (folder / "config.json").unlink()
    monkeypatch.setattr("edge_lorahub.export.source.refusals.repository_files", lambda *_: ["t5.Q4_K.gguf"])
    with pytest.raises(MissingPathError, match=r"someone/t5: no config.json, but GGUF files: download"):
        export("someone/t5", tmp_path / "out")


def test_generation_config_is_downloaded_too(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(_: str, *, allow_patterns: list[str], **__: object) -> str:
        asked.extend(allow_patterns)
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    export("someone/t5", tmp_path / "out")
    assert {"config.json", "generation_config.json", "spiece.model", "vocab.json", "merges.txt"} <= set(asked)
