"""Tokenizers from GGUF metadata: as those that were trained, and what cannot be rebuilt exactly."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import CORPUS, SPACE, byte_pair_fields, byte_pairs, piece_tokenizer, write_gguf
from tokenizers import Tokenizer

from edge_lorahub.bundle.manifest import TOKENIZER
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export.gguf import GgufSource, open_gguf
from edge_lorahub.export.gguf.pre_tokenizers import PRE_TOKENIZERS
from edge_lorahub.export.source.tokenizer_conversion import TEXTS
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer

T = "tokenizer.ggml."


def opened(path: Path, fields: dict[str, Any] | None = None) -> GgufSource:
    return open_gguf(write_gguf(path / "m.gguf", fields))


def tokenizer(path: Path, fields: dict[str, Any] | None = None) -> Tokenizer:
    """As the runtime loads it."""
    (path / TOKENIZER).write_text(opened(path, fields).tokenizer_json)
    return load_tokenizer(path / TOKENIZER, CheckpointError)


def mixed(seed: int, count: int) -> list[str]:
    """Pieces of the corpus and of difficult texts, in any order."""
    generator = random.Random(seed)
    pieces = [*CORPUS, *TEXTS, " ", "  ", "\n\n", "12", "'s", "'S", "-", SPACE]
    texts = []
    for _ in range(count):
        some = [generator.choice(pieces) for _ in range(generator.randint(1, 4))]
        texts.append("".join(piece[generator.randint(0, 9) :] for piece in some))
    return texts


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "default"])
def test_a_byte_level_vocabulary_is_rebuilt(pre: str, tmp_path: Path) -> None:
    words = PRE_TOKENIZERS[pre]
    trained = byte_pairs(600, words.patterns, words.whole_words)
    rebuilt = tokenizer(tmp_path, byte_pair_fields(trained, pre))
    for text in [*CORPUS, *TEXTS, *mixed(1, 300), "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|endoftext|>x"]:
        ids = rebuilt.encode(text).ids
        assert ids == trained.encode(text).ids, text
        assert rebuilt.decode(ids, skip_special_tokens=False) == text
    assert rebuilt.decode(rebuilt.encode("a , b ?<|im_end|>").ids) == "a , b ?"


def test_a_vocabulary_of_pieces_is_rebuilt(tmp_path: Path) -> None:
    trained, fields = piece_tokenizer()
    rebuilt = tokenizer(tmp_path, fields)
    for text in [*CORPUS, *TEXTS, *mixed(2, 300)]:
        expected = trained.encode(SPACE + text.replace(" ", SPACE)).ids if text else []
        ids = rebuilt.encode(text).ids
        assert ids == [1, *expected], text
        assert rebuilt.encode(text, add_special_tokens=False).ids == expected
        assert rebuilt.decode(ids) == text.replace(SPACE, " ")
    # after a special token a text begins anew
    assert rebuilt.encode("a</s>a").ids == [1, *trained.encode(SPACE + "a").ids, 2, *trained.encode(SPACE + "a").ids]


def test_pieces_without_a_space_before_the_text(tmp_path: Path) -> None:
    trained, fields = piece_tokenizer()
    rebuilt = tokenizer(tmp_path, fields | {T + "add_space_prefix": False, T + "add_bos_token": False})
    for text in [*CORPUS, " x", "x"]:
        assert rebuilt.encode(text).ids == trained.encode(text.replace(" ", SPACE)).ids
        assert rebuilt.decode(rebuilt.encode(text).ids) == text


def test_runs_that_the_user_defined(tmp_path: Path) -> None:
    # as Gemma has them: runs of new lines and of spaces, found before anything else
    _, fields = piece_tokenizer()
    runs = ["\n" * n for n in range(2, 6)] + [" " * n for n in range(2, 6)]
    tokens = [*fields[T + "tokens"], *runs]
    first = len(tokens) - len(runs)
    rebuilt = tokenizer(
        tmp_path,
        fields
        | {
            T + "tokens": tokens,
            T + "scores": np.append(fields[T + "scores"], [-1000.0] * len(runs)).astype(np.float32),
            T + "token_type": np.append(fields[T + "token_type"], [4] * len(runs)).astype(np.int32),
            T + "add_space_prefix": False,
        },
    )
    ids = rebuilt.encode("\n" * 12, add_special_tokens=False).ids
    assert ids == [first + 3, first + 3, first]
    ids = rebuilt.encode("      \n\n", add_special_tokens=False).ids
    assert ids == [first + 7, tokens.index(SPACE), first]
    assert rebuilt.decode(ids) == "      \n\n"


def test_bytes_that_are_no_tokens_are_left_out(tmp_path: Path) -> None:
    # as in SmolLM2's vocabulary; the ones around them must not be merged
    fields = byte_pair_fields(byte_pairs(600))
    tokens: list[str] = fields[T + "tokens"]
    gone = tokens.index("\u0104")  # stands for the byte 4
    tokens[gone] = "unused"
    rebuilt = tokenizer(tmp_path, fields)
    dash = tokens.index("-")
    assert rebuilt.encode("-\x04-").ids == [dash, dash]
    assert rebuilt.encode("--").ids == [tokens.index("--")]


@pytest.mark.parametrize(("add_bos", "add_eos"), [(False, False), (True, False), (False, True), (True, True)])
def test_start_and_end_tokens(add_bos: bool, add_eos: bool, tmp_path: Path) -> None:
    fields = byte_pair_fields(byte_pairs()) | {T + "add_bos_token": add_bos, T + "add_eos_token": add_eos}
    source = opened(tmp_path, fields)
    ids = Tokenizer.from_str(source.tokenizer_json).encode("a").ids
    assert (ids[0] == 1, ids[-1] == 2) == (add_bos, add_eos) == (source.special.add_bos, source.special.add_eos)


@pytest.mark.parametrize(("pre", "expected"), [("llama-bpe", True), ("gpt-2", False), ("qwen2", False)])
def test_start_tokens_where_the_file_does_not_say(pre: str, expected: bool, tmp_path: Path) -> None:
    fields = byte_pair_fields(byte_pairs(), pre) | {T + "add_bos_token": None}
    assert opened(tmp_path, fields).special.add_bos is expected


def test_special_tokens(tmp_path: Path) -> None:
    fields = {
        T + "padding_token_id": 0,
        T + "eot_token_id": 5,
        T + "unknown_token_id": 0,
        "tokenizer.chat_template": "x",
    }
    source = opened(tmp_path, fields)
    special = source.special
    assert (special.bos, special.eos, special.pad, special.unknown, special.ends) == (1, 2, 0, 0, (2, 0, 5))
    assert source.config["eos_token_id"] == [2, 0, 5]
    assert source.chat_template == "x"
    assert opened(tmp_path).chat_template is None


def test_text_of_an_end_token_that_is_no_control_token_ends_nothing(tmp_path: Path) -> None:
    # Gemma has </s> as HTML's; it is found as one token, as llama.cpp finds it
    fields = byte_pair_fields(byte_pairs())
    fields[T + "tokens"][300] = "</s>"
    fields[T + "merges"] = [m for m in fields[T + "merges"] if "".join(m.split()) in fields[T + "tokens"]]
    fields[T + "merges"] = fields[T + "merges"][:20]
    source = opened(tmp_path, fields)
    assert source.special.ends == (2, 0)
    assert Tokenizer.from_str(source.tokenizer_json).encode("a</s>").ids[-1] == 300


def test_nothing_is_cut_padded_or_cleaned_up(tmp_path: Path) -> None:
    state = json.loads(opened(tmp_path).tokenizer_json)
    assert state["truncation"] is None
    assert state["padding"] is None
    assert state["decoder"]["type"] == "ByteLevel"


def test_a_file_that_does_not_say_how_words_are_cut(tmp_path: Path) -> None:
    fields = byte_pair_fields(byte_pairs(), None)
    with pytest.warns(EdgeLorahubWarning, match=r"no tokenizer\.ggml\.pre") as caught:
        source = opened(tmp_path, fields)
    assert len(caught) == 1
    assert source.tokenizer_json == opened(tmp_path, fields | {T + "pre": "default"}).tokenizer_json


def changed(**changes: Any) -> dict[str, Any]:
    """The default byte-level vocabulary with some of its lists changed by a function."""
    fields = byte_pair_fields(byte_pairs())
    return {T + key: change(fields[T + key]) for key, change in changes.items()}


def replaced(index: int, value: Any) -> Any:
    def change(items: Any) -> Any:
        items = items.copy()
        items[index] = value
        return items

    return change


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({T + "model": None}, r"tokenizer\.ggml\.model None is not supported"),
        ({T + "model": "t5"}, r"tokenizer\.ggml\.model 't5' is not supported, only gpt2"),
        ({T + "model": 3}, "model must be a string, got 3"),
        ({T + "pre": "tekken"}, "pre 'tekken' is not supported, only"),
        ({T + "merges": None}, r"no tokenizer\.ggml\.merges"),
        ({T + "merges": np.array([1], np.int32)}, "merges must be a list of strings, got a list of 1"),
        (changed(merges=replaced(3, "abc")), r"merges\[3\] must be two words, got 'abc'"),
        (changed(merges=replaced(3, "a b c")), r"merges\[3\] must be two words"),
        (changed(merges=replaced(0, "a qqq")), r"merges\[0\] has 'qqq', which is no token"),
        (changed(token_type=replaced(5, 9)), "a type from 0 to 6 for each token"),
        (changed(token_type=lambda types: types[:10]), "for each token"),
        (changed(tokens=replaced(5, "!")), "is there twice"),
        (changed(tokens=replaced(5, "x" * 1001)), "of 1001 at most: too many"),
        ({T + "token_type": "3"}, "token_type must be a list of numbers, got '3'"),
        ({T + "eos_token_id": 400}, "eos_token_id is 400, but there are 400 tokens"),
        ({T + "eos_token_id": "</s>"}, "must be a whole number"),
        ({T + "bos_token_id": None, T + "add_bos_token": True}, "bos_token_id is missing"),
        ({T + "add_bos_token": 1}, "add_bos_token must be true or false, got 1"),
        ({T + "add_space_prefix": True}, "add_space_prefix with a byte-level vocabulary"),
        ({"general.name": "Phi-3 mini"}, "Phi-3"),
        ({"tokenizer.chat_template": 5}, "chat_template must be a string, got 5"),
        (changed(tokens=replaced(300, "<|call|>")), r"the token <\|call\|> that is no control token"),
    ],
)
def test_byte_level_vocabularies_that_are_refused(fields: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=expected) as caught:
        opened(tmp_path, fields)
    assert str(caught.value).startswith(f"{tmp_path / 'm.gguf'}: ")
    assert "\n" not in str(caught.value)


def test_no_tokens_or_too_many(tmp_path: Path) -> None:
    from gguf_files import model_tensors

    with pytest.raises(CheckpointError, match="400 tokens, but the embedding has 399 rows"):
        open_gguf(write_gguf(tmp_path / "m.gguf", tensors=model_tensors(vocab_size=399)))
    with pytest.raises(CheckpointError, match="a file without a tokenizer"):
        open_gguf(write_gguf(tmp_path / "m.gguf", {T + "tokens": None}, model_tensors()))


def test_special_tokens_that_overlap(tmp_path: Path) -> None:
    # in "<a<b>>" llama.cpp finds the longer one first, the library tokenizers the one further left
    fields = changed(tokens=lambda tokens: ["<a<b", "<b>>>", *tokens[2:]])
    with pytest.raises(CheckpointError, match="overlap in '<a<b>>>'"):
        opened(tmp_path, fields | {T + "merges": ["a b"], T + "tokens": [*fields[T + "tokens"][:-1], "ab"]})


@pytest.mark.parametrize(
    ("key", "change", "expected"),
    [
        ("scores", lambda scores: np.full_like(scores, -1000), "have the same score -1000"),
        ("scores", lambda scores: scores[:20], "a finite number for each token"),
        ("scores", lambda scores: np.where(scores < -300, np.nan, scores), "a finite number"),
        ("scores", lambda scores: None, "a finite number"),
        ("tokens", replaced(70, "<0x>"), "no token for the byte 0x43"),
        ("token_type", replaced(70, 1), "no token for the byte 0x43"),
        ("tokens", replaced(300, "a\u4444"), "the character '\u4444' of the token"),
    ],
)
def test_pieces_that_are_refused(key: str, change: Any, expected: str, tmp_path: Path) -> None:
    _, fields = piece_tokenizer()
    with pytest.raises(CheckpointError, match=expected):
        opened(tmp_path, fields | {T + key: change(fields[T + key])})


def test_pieces_without_extra_spaces(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="extra spaces"):
        opened(tmp_path, piece_tokenizer()[1] | {T + "remove_extra_whitespaces": True})
