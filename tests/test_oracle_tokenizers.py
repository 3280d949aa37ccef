"""Converted tokenizers against what they come from: SentencePiece, and transformers' classes in Python."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import sentencepiece
from tokenizers import ByteLevelBPETokenizer
from transformers import ByT5Tokenizer, RobertaTokenizer

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export.source.tokenizer_conversion import TEXTS, convert
from edge_lorahub.testing.random_models import write_checkpoint

pytestmark = pytest.mark.oracle

WORDS = ["the", "quick", "brown", "fox", "stra\u00dfe", "\u65e5\u672c", "don't", "Jumps", "{x}", "12/3", "\u00e9mile"]
# Texts of which the comparison at export does not know.
OTHERS = ["Q: 2+2?\nA: 4", "\u00a0x", "the  quick\u3000fox", "\ud55c\uad6d\uc5b4", "THE FOX", "x" * 300, "a\u0308"]


def spiece(folder: Path, **options: Any) -> Path:
    """A spiece.model of a few words, made with those options of SentencePiece's trainer."""
    rng = random.Random(0)
    (folder / "text").write_text("\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(500)))
    settings = {
        "vocab_size": 80, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2,
        "hard_vocab_limit": False, "input": str(folder / "text"), "model_prefix": str(folder / "spiece"),
    }  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(**(settings | options))
    return folder


def assert_sentencepiece(folder: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = convert(folder)
    for text in (*TEXTS, *OTHERS):
        assert tokenizer.encode(text).ids == [*pieces.encode(text), 1], text


@pytest.mark.parametrize("options", [{}, {"normalization_rule_name": "nmt_nfkc_cf"}, {"model_type": "bpe"}])
def test_sentencepiece(options: dict[str, object], tmp_path: Path) -> None:
    assert_sentencepiece(spiece(tmp_path, **options))


@pytest.mark.parametrize("value", [None, False])
def test_the_space_before_the_first_word_is_repaired(value: object, tmp_path: Path) -> None:
    spiece(tmp_path)
    settings = {"tokenizer_class": "T5Tokenizer", "add_prefix_space": value}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.warns(EdgeLorahubWarning, match="add_prefix_space no space comes before the first word, but by spiece"):
        convert(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        assert_sentencepiece(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"treat_whitespace_as_suffix": True},
        {"byte_fallback": True, "vocab_size": 400},
        {"normalization_rule_name": "identity"},
        {"model_type": "char"},
    ],
)
def test_what_is_not_converted_rightly_is_refused(
    options: dict[str, object], tmp_path: Path, fails: Callable[..., str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    (checkpoint / "tokenizer.json").unlink()
    spiece(checkpoint, **options)
    assert "spiece.model: cannot be converted" in fails("export", checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"\x00junk" * 9)
    with pytest.raises(CheckpointError, match=r"spiece.model: cannot be converted \("):
        convert(tmp_path)


def test_byt5(tmp_path: Path) -> None:
    oracle = ByT5Tokenizer()
    oracle.save_pretrained(tmp_path)
    tokenizer = convert(tmp_path)
    for text in (*TEXTS, *OTHERS, "The <extra_id_0> walks </s> in<extra_id_1>park <pad> x", "<0x41>", "<unk>"):
        assert tokenizer.encode(text).ids == oracle(text)["input_ids"], text


@pytest.mark.parametrize("settings", [{}, {"tokenizer_class": "RobertaTokenizer"}])
def test_codet5(settings: dict[str, object], tmp_path: Path) -> None:
    """Byte pairs as RoBERTa's, with <s> before a text and </s> after it."""
    pairs = ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator(["def foo(x): return x + 1"] * 20, vocab_size=300, special_tokens=special)
    pairs.save_model(str(tmp_path))
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    oracle = RobertaTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    tokenizer = convert(tmp_path)
    for text in (*TEXTS, *OTHERS, "def foo(x):\n    return x <mask>"):
        assert tokenizer.encode(text).ids == oracle(text)["input_ids"], text
    assert tokenizer.encode("foo").ids[0] == 1
    assert tokenizer.encode("foo").ids[-1] == 2
