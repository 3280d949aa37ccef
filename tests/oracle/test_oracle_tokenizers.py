"""Converted tokenizers against what they come from: SentencePiece, and transformers' classes in Python."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

import sentencepiece
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, RobertaTokenizer, T5TokenizerFast

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export.source.tokenizer import read_tokenizer
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


def added(folder: Path, size: int, *texts: str) -> Path:
    (folder / "added_tokens.json").write_text(json.dumps({text: size + i for i, text in enumerate(texts)}))
    return folder


@pytest.mark.parametrize("texts", [("~", "|"), ("the",), ("_", "=", "5")])
def test_sentencepiece_with_added_tokens(texts: tuple[str, ...], tmp_path: Path) -> None:
    """SentencePiece cannot know them, so what was trained is compared with it, and all of it with transformers."""
    spiece(tmp_path)
    before = T5TokenizerFast.from_pretrained(str(tmp_path), extra_ids=0)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 0}))
    added(tmp_path, len(before), *texts)
    tokenizer = convert(tmp_path)
    oracle = T5TokenizerFast.from_pretrained(str(tmp_path))
    assert [tokenizer.token_to_id(text) for text in texts] == [len(before) + i for i in range(len(texts))]
    for text in (*TEXTS, *OTHERS, "the |fox~ _5= a"):
        assert tokenizer.encode(text).ids == oracle(text)["input_ids"], text


def test_an_added_token_with_another_id_is_refused(tmp_path: Path) -> None:
    spiece(tmp_path)
    for text in ("~", "{"):  # the latter is a piece
        added(tmp_path, 5000, text)
        with pytest.raises(
            CheckpointError, match=rf"the added token '\{text}' has id 5000 by the tokenizer's settings, "
        ):
            convert(tmp_path)


_BRACE = {"content": "{", "lstrip": False, "rstrip": False, "single_word": False, "normalized": True}


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"128": _BRACE | {"special": False}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"128": _BRACE | {"special": True, "lstrip": True}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"3": {"content": "w3", "special": True}}}),
        ("tokenizer_config.json", {"additional_special_tokens": ["{", "w5"]}),
        ("tokenizer_config.json", {"mask_token": {"__type": "AddedToken", "content": "{", "lstrip": True}}),
        ("special_tokens_map.json", {"mask_token": "{"}),
        ("added_tokens.json", {"{": 128, "<pad>": 0, "w7": 7}),
    ],
)
def test_tokens_that_only_the_settings_have(file: str, fields: dict[str, object], tmp_path: Path) -> None:
    """Beside a tokenizer.json: transformers adds them, and gives those that are there the settings' flags."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    (checkpoint / file).write_text(json.dumps(fields))
    oracle = PreTrainedTokenizerFast.from_pretrained(str(checkpoint))
    read_tokenizer(checkpoint, convertible=False).save(str(tmp_path / "written.json"))
    written = Tokenizer.from_file(str(tmp_path / "written.json"))
    for text in ("w3 {w5", "w4 { w6 w3", "w5{", "</s> w3w5"):
        ids = written.encode(text).ids
        assert ids == oracle(text)["input_ids"], text
        assert written.decode(ids) == oracle.decode(ids, skip_special_tokens=True)


def test_a_file_that_the_settings_name_is_not_read(tmp_path: Path) -> None:
    """transformers reads vocab_file from wherever tokenizer_config.json says."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
    spiece(tmp_path / "inside")
    spiece(tmp_path / "outside", vocab_size=60)
    settings = {"vocab_file": str(tmp_path / "outside" / "spiece.model"), "init_inputs": [], "gguf_file": "x"}
    (tmp_path / "inside" / "tokenizer_config.json").write_text(json.dumps(settings))
    assert_sentencepiece(tmp_path / "inside")


@pytest.mark.parametrize("where", ["tokenizer_config.json", "config.json"])
def test_no_code_of_a_checkpoint_is_run(where: str, tmp_path: Path) -> None:
    """Neither at export nor by --verify, and nobody is asked whether it may be."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = checkpoint / where
    classes = {"AutoConfig": "evil.C", "AutoModelForSeq2SeqLM": "evil.M", "AutoTokenizer": ["evil.T", "evil.T"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": classes}))
    (checkpoint / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "none")}))
    command = [sys.executable, "-m", "edge_lorahub", "export", str(checkpoint), str(tmp_path / "out"), "--verify"]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "?" not in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()
