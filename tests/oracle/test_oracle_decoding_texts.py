"""Decoded texts are transformers', with and without its clean-up of spaces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.export.source.clean_up import REPLACEMENTS
from edge_lorahub.export.source.tokenizer import read_tokenizer
from edge_lorahub.runtime.tokens import Tokens

pytestmark = pytest.mark.oracle
transformers = pytest.importorskip("transformers")

TEXTS = [
    "a , b ?", "a, b?", "Yes !", "end .", "do n't", "I 'm he 's we 've they 're", "x ' y ' z", "3 , 000 . 5", " , ",
    "he said ' no ' .", "a  ,  b", "word", "", ". . .", "1 .5", "'s", "n't", "to be , or n't 'm ?!",
    "é , 数据 ! İ", "{ } ~", "line\nline ,\n.",
]  # fmt: skip
SETTINGS = "tokenizer_config.json"


def ours(folder: Path, out: Path, vocabulary: int) -> Tokens:
    read_tokenizer(folder, convertible=True).save(str(out))
    return Tokens(out, ModelConfig("t5", "x", vocabulary, 1, 1, 1, 1, 0, 1, 0, (1,)))


@pytest.fixture
def settings_of(tmp_path: Path, checkpoint: Path) -> Path:
    shutil.copy(checkpoint / "config.json", tmp_path / "config.json")
    return tmp_path


def with_setting(source: Path, folder: Path, value: object) -> Path:
    shutil.copytree(source, folder)
    settings = json.loads((folder / SETTINGS).read_text())
    settings.pop("clean_up_tokenization_spaces", None)
    if value != "absent":
        settings["clean_up_tokenization_spaces"] = value
    (folder / SETTINGS).write_text(json.dumps(settings))
    return folder


def check(tokens: Tokens, folder: Path, rows: list[list[int]]) -> list[str]:
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    expected = theirs.batch_decode(rows, skip_special_tokens=True)
    assert tokens.decode([np.array(row, np.int64) for row in rows]) == expected
    return list(expected)


@pytest.mark.parametrize("value", [True, False, None, "absent"])
def test_t5s_vocabulary(shared: Path, settings_of: Path, value: object) -> None:
    folder = with_setting(shared / "t5-tokenizer", settings_of / "t5", value)
    tokens = ours(folder, settings_of / "out.json", 32128)
    texts = TEXTS + [f"x{old}y{old}{old} z" for old, _ in REPLACEMENTS]
    rows = [ids.tolist() for ids in tokens.encode(texts, 99)]
    rng = np.random.default_rng(0)
    rows += [rng.integers(0, 32100, rng.integers(0, 40)).tolist() for _ in range(400)]
    # with many of what is cleaned up: the pieces of the texts above, in any order
    pieces = sorted({token for row in rows[: len(texts)] for token in row})
    rows += [rng.choice(pieces, rng.integers(0, 40)).tolist() for _ in range(400)]
    decoded = check(tokens, folder, rows)
    assert decoded[0] == ("a, b?" if value is True else "a , b ?")


@pytest.mark.parametrize("value", [True, False])
def test_words_that_are_joined_by_spaces(checkpoint: Path, settings_of: Path, value: object) -> None:
    folder = with_setting(checkpoint, settings_of / "words", value)
    words = ["<pad>", "</s>", "<unk>", "a", "b", ",", ".", "?", "!", "'", "n't", "'s", "'m", "'ve", "'re", "##c"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(words), rng.integers(0, 12)).tolist() for _ in range(400)]
    decoded = check(ours(folder, settings_of / "out.json", 128), folder, [[3, 5, 4, 7, 1], *rows])
    assert decoded[0] == ("a, b?" if value else "a , b ?")
