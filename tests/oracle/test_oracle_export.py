"""The exporter's own check, and tokenizers converted from spiece.model alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import Result

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from oracle import TOLERANCE
from tokenizers import Tokenizer

from edge_lorahub.errors import CheckpointError
from edge_lorahub.export import export
from edge_lorahub.export.checks.verify import verify_bundle
from edge_lorahub.export.source.tokenizer import read_tokenizer
from edge_lorahub.testing.random_models import config, write_checkpoint

pytestmark = pytest.mark.oracle

TEXTS = (
    "translate English to German: That is good.",
    "Today is Christmas Eve of 1937. What is the date 10 days ago in MM/DD/YYYY?\nOptions:\n(A) 12/14/2026",
    "  leading,  double   and trailing spaces  ",
    "tabs\tand\nnew\r\nlines\n\n",
    "Äpfel, naïve café, Übergröße",
    "\ufb01ne ligatures, \uff46\uff55\uff4c\uff4c width, ½ and ①",
    "日本語のテキスト and русский",
    "emoji 🙂 and a\u00a0no-break space, zero\u200bwidth",
    "The <extra_id_0> walks in <extra_id_1> park",
    "The<extra_id_0>walks",
    "Hello</s> world <pad> <unk>",
    "{braces} ~tilde \\backslash `tick`",
    "",
)


@pytest.mark.parametrize("size", ["tiny", "tiny-t5", "tiny-mt5"])
def test_verify(size: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    checkpoint = write_checkpoint(tmp_path / size, size)
    result = run("export", checkpoint, tmp_path / "bundle", "--verify")
    assert result.exit_code == 0, result.output
    match = re.search(r"verified against transformers \S+: .* (\d\S+)$", result.output.strip())
    assert match is not None, result.output
    assert 0 < float(match[1]) <= TOLERANCE


def test_verify_sees_another_checkpoint(tmp_path: Path) -> None:
    export(write_checkpoint(tmp_path / "one", "tiny", seed=0), tmp_path / "bundle")
    with pytest.raises(CheckpointError, match=r"differ from those of transformers \S+ by \d\.\de\+00 of the largest"):
        verify_bundle(write_checkpoint(tmp_path / "two", "tiny", seed=1), tmp_path / "bundle")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("wrong", [1.7, float("nan"), float("inf")])
def test_a_difference_leaves_no_bundle(
    precision: str, wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    kept = tmp_path / "bundle"
    export(checkpoint, kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    # one of the three pairs of graphs, and not the first
    found = iter([1e-7, wrong, 1e-7])
    monkeypatch.setattr("edge_lorahub.export.checks.verify._difference", lambda *_: next(found))
    line = fails("export", checkpoint, kept, "--force", "--verify", "--precision", precision)
    assert "so there is no bundle" in line
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "checkpoint"]


def test_verify_in_int8(tmp_path: Path, run: Callable[..., Result]) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    result = run("export", checkpoint, tmp_path / "bundle", "--verify", "--precision", "int8", "--no-check")
    assert result.exit_code == 0, result.output
    assert "verified against transformers" in result.output


@pytest.mark.parametrize("error", [ImportError("libcudart.so is missing"), RuntimeError("no such operator")])
def test_an_import_that_fails_inside_is_named(
    error: Exception, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def broken(name: str) -> object:
        if name.startswith("transformers.models"):
            raise RuntimeError("Failed to import transformers.models") from error
        return import_module(name)

    monkeypatch.setattr("edge_lorahub.export.checks.oracle.import_module", broken)
    line = fails("export", checkpoint, tmp_path / "out", "--verify")
    assert f"importing transformers.models.t5.modeling_t5 fails: {type(error).__name__}: {error}" in line
    assert "pip install" not in line
    assert not (tmp_path / "out").exists()


def test_what_transformers_cannot_compute_is_not_verified(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def broken(_: Path) -> object:
        raise IndexError("index out of range in self")

    monkeypatch.setattr("edge_lorahub.export.checks.oracle._model", broken)
    line = fails("export", checkpoint, tmp_path / "out", "--verify")
    assert "not verified, as transformers fails: IndexError: index out of range in self" in line
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def tokenizers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """The published tokenizer.json, and ours from the spiece.model beside it and a config.json."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    shutil.copy(shared / "t5-tokenizer" / "spiece.model", folder)
    (folder / "config.json").write_text(json.dumps(config("t5-small")))
    read_tokenizer(folder, convertible=True).save(str(folder / "converted.json"))
    return {
        "published": Tokenizer.from_file(str(shared / "t5-tokenizer" / "tokenizer.json")),
        "converted": Tokenizer.from_file(str(folder / "converted.json")),
    }


@pytest.mark.parametrize("text", TEXTS)
def test_converted_tokenizer(text: str, tokenizers: dict[str, Tokenizer]) -> None:
    assert tokenizers["converted"].encode(text).ids == tokenizers["published"].encode(text).ids


def test_converted_vocabulary(tokenizers: dict[str, Tokenizer]) -> None:
    assert tokenizers["converted"].get_vocab() == tokenizers["published"].get_vocab()
