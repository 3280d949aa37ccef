"""Checkpoints without a tokenizer.json: ByT5's bytes, and what is said where a tokenizer cannot be made."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingPathError
from edge_lorahub.export import export
from edge_lorahub.export.source.tokenizer_conversion import TEXTS, convert
from edge_lorahub.runtime.tokens import Tokens
from edge_lorahub.testing import random_models

BYT5 = {"tokenizer_class": "ByT5Tokenizer"}


def settings(folder: Path, fields: dict[str, object], file: str = "tokenizer_config.json") -> Path:
    (folder / file).write_text(json.dumps(fields))
    return folder


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_byt5_is_bytes_after_three_tokens(file: str, tmp_path: Path) -> None:
    """Xue et al., arXiv 2105.13626: the ids are the bytes of UTF-8 plus 3."""
    tokenizer = convert(settings(tmp_path, BYT5, file))
    assert tokenizer.get_vocab_size() == 384
    for text in TEXTS:
        encoded = tokenizer.encode(text).ids
        assert encoded == [byte + 3 for byte in text.encode()] + [1]
        assert tokenizer.decode(encoded) == text
    assert tokenizer.encode("a<extra_id_0>b<extra_id_124>").ids == [100, 259, 101, 383, 1]


def test_byt5_from_the_command_line(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(random_models.SIZES, "bytes", random_models.SIZES["tiny"] | {"vocab_size": 384})
    checkpoint = random_models.write_checkpoint(tmp_path / "checkpoint", "bytes")
    (checkpoint / "tokenizer.json").unlink()
    settings(checkpoint, BYT5)
    assert run("export", checkpoint, tmp_path / "bundle").exit_code == 0
    assert run("generate", tmp_path / "bundle", "na\u00efve", "--max-new-tokens", 4).exit_code == 0
    settings(checkpoint, BYT5 | {"extra_ids": 126})
    result = run("export", checkpoint, tmp_path / "other")
    assert result.exit_code == 2
    assert "the tokenizer has id 384, but the model's vocab_size is 384" in result.stderr


def test_a_bundle_of_bytes_truncates_and_decodes(tmp_path: Path, bundle: Path) -> None:
    convert(settings(tmp_path, BYT5)).save(str(tmp_path / "tokenizer.json"))
    tokens = Tokens(tmp_path / "tokenizer.json", read_manifest(bundle).model)
    (ids,) = tokens.encode(["day"], 20)
    assert ids.tolist() == [103, 100, 124, 1]
    assert tokens.decode([ids]) == ["day"]


@pytest.mark.parametrize("extra_ids", [0, 7])
def test_the_number_of_extra_ids(extra_ids: int, tmp_path: Path) -> None:
    said = {"extra_ids": extra_ids}
    assert convert(settings(tmp_path, BYT5 | said)).get_vocab_size() == 259 + extra_ids
    # as transformers 4.57 saves them
    added = {str(259 + index): {"content": f"<extra_id_{index}>"} for index in range(extra_ids)}
    added |= {"0": {"content": "<pad>"}, "1": {"content": "</s>"}, "2": {"content": "<unk>"}}
    fields = BYT5 | {"extra_ids": 0, "added_tokens_decoder": added}
    assert convert(settings(tmp_path, fields)).get_vocab_size() == 259 + extra_ids


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra_ids": "many"}, "extra_ids must be a whole number"),
        ({"added_tokens_decoder": {"259": {"content": "<mine>"}}}, "the token '<mine>', added to ByT5's, is not"),
        ({"added_tokens_decoder": {"300": {"content": "<extra_id_0>"}}}, "the token '<extra_id_0>', added to ByT5's"),
    ],
)
def test_other_tokens_of_byt5_are_refused(fields: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        convert(settings(tmp_path, BYT5 | fields))


def test_nothing_to_convert(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(MissingPathError, match=r"neither tokenizer.json nor spiece.model .T5., vocab.json with merges"):
        convert(tmp_path)


@pytest.mark.parametrize("names", [("spiece.model",), ("vocab.json", "merges.txt")])
def test_the_extra_is_named(
    names: tuple[str, ...], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "folder")
    (tmp_path / "folder" / "tokenizer.json").unlink()
    (tmp_path / "folder" / "tokenizer_config.json").unlink()
    for name in names:
        (tmp_path / "folder" / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    line = fails("export", tmp_path / "folder", tmp_path / "out")
    assert f"no tokenizer.json, and making one from {names[0]} takes transformers" in line
    assert "pip install 'edge-lorahub[export]'" in line


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match=r"spiece.model: a Git LFS pointer"):
        convert(tmp_path)


@pytest.mark.parametrize("names", [(), ("spiece.model",), ("vocab.json", "merges.txt")])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"tokenizer_class": "OtherTokenizer", "auto_map": {"AutoTokenizer": [None, "other.OtherTokenizer"]}},
            "auto_map",
        ),
        ({"tokenizer_class": "RobertaTokenizer", "auto_map": ["other.A", None]}, "auto_map names code of the checkp"),
        ({"tokenizer_class": "ByT5Tokenizer", "auto_map": {"AutoTokenizer": "other.A"}}, "auto_map names code of the"),
        ({"tokenizer_class": "CodeGenTokenizer"}, "tokenizer_class 'CodeGenTokenizer' is not supported with"),
        ({"tokenizer_class": ["RobertaTokenizer"]}, "tokenizer_class .'RobertaTokenizer'. is not supported with"),
    ],
)
def test_other_classes_and_own_code_are_refused(
    names: tuple[str, ...], fields: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before transformers is imported, which would run the code, or ask on the terminal whether to."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "other.py").write_text("raise SystemExit('ran')")
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(
        (CheckpointError, MissingPathError), match=words if names or "auto_map" in fields else "neither"
    ):
        convert(settings(tmp_path, fields))


def test_own_code_beside_a_tokenizer_file_is_warned_about(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "folder")
    settings(tmp_path / "folder", {"auto_map": {"AutoTokenizer": ["other.A", "other.B"]}})
    with pytest.warns(
        EdgeLorahubWarning, match="auto_map names code of the checkpoint's own, which is not run; tokeni"
    ):
        export(tmp_path / "folder", tmp_path / "bundle")


@pytest.mark.parametrize("names", [("spiece.model",), ("vocab.json", "merges.txt")])
@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("tokenizer_config.json", {"extra_ids": 300_000}, "extra_ids is 300000, more than any tokenizer has"),
        ("tokenizer_config.json", {"extra_ids": "9"}, "extra_ids must be a whole number"),
        ("added_tokens.json", {f"<{i}>": i for i in range(10_001)}, "10001 added tokens, more than any"),
        ("added_tokens.json", {"<a>": "b"}, "<a> must be a whole number"),
        ("tokenizer_config.json", {"additional_special_tokens": ["<a>"] * 10_001}, "10001 added tokens, more than"),
        ("special_tokens_map.json", {"additional_special_tokens": ["<a>"] * 10_001}, "10001 added tokens, more than"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "a"}}}, "'x' in added_tokens_decoder is"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": 5}}}, "an added token must be an object"),
        ("tokenizer_config.json", {"eos_token": "\ud800"}, "is not valid Unicode"),
        ("added_tokens.json", {"a\udfff": 5}, "is not valid Unicode"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "added_tokens_decoder must be an object"),
        ("tokenizer_config.json", {"eos_token": {"content": "a", "lstrip": 1}}, "lstrip must be true or false"),
    ],
)
def test_too_many_tokens_and_what_is_none(
    names: tuple[str, ...],
    file: str,
    fields: dict[str, object],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match=words):
        convert(settings(tmp_path, fields, file))
