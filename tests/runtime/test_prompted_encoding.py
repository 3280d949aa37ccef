"""Prompts and answers as token ids: one start token, whole templates, and an end that is learned."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.errors import EdgeLorahubWarning, SettingsError
from edge_lorahub.runtime.decoder_only.prompted_encoding import encode_answers, encode_prompts
from edge_lorahub.runtime.tokens import Tokens

CHAT = Prompt("<s><|user|>\n", "<|end|>\n<|assistant|>\n", "", "<|end|>\n")
START, END = 256, 257
PLAIN = Prompt()


def byte_tokens(folder: Path, *, start: bool = True, merges: tuple[tuple[str, str], ...] = ()) -> Tokens:
    """A tokenizer of bytes, each its own id, with special tokens from 256 on; start: puts <s> before a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<|end|>", "<|user|>", "<|assistant|>"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {"".join(pair): 300 + number for number, pair in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocabulary | dict(zip(special, range(256, 260), strict=True)), list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A <|end|>", special_tokens=[("<s>", START), ("<|end|>", END)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = ModelConfig("llama", "tiny", 400, 2, 4, 2, 16, None, END, 0, (END,), longest_text=512)
    return Tokens(folder / "tokenizer.json", config)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return byte_tokens(tmp_path_factory.mktemp("tokens"))


def read(tokens: Tokens, ids: np.ndarray) -> str:
    """The text of ids, special tokens included."""
    return str(tokens._tokenizer.decode(ids.tolist(), skip_special_tokens=False))


def answers(tokens: Tokens, prompt: Prompt, text: str, output: str, limit: int = 99) -> str:
    (ids,) = encode_answers(tokens, prompt, [(text, output)], limit, [END])
    assert ids[-1] == END
    return read(tokens, ids)


def test_one_start_token_and_no_end(tokens: Tokens) -> None:
    plain, chat = (encode_prompts(tokens, prompt, ["day"], 99)[0] for prompt in (PLAIN, CHAT))
    assert read(tokens, plain) == "<s>day"
    assert read(tokens, chat) == "<s><|user|>\nday<|end|>\n<|assistant|>\n"
    assert list(chat).count(START) == 1


def test_a_tokenizer_without_a_start_token(tmp_path: Path) -> None:
    tokens = byte_tokens(tmp_path, start=False)
    assert read(tokens, encode_prompts(tokens, PLAIN, ["day"], 99)[0]) == "day"
    assert read(tokens, encode_prompts(tokens, CHAT, ["day"], 99)[0]).startswith("<s><|user|>")


def test_the_start_token_of_a_vocabulary_of_few_letters(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "0": 1}, []))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = ModelConfig("llama", "tiny", 9, 2, 4, 2, 16, None, 0, 0, (0,), longest_text=512)
    assert Tokens(tmp_path / "tokenizer.json", config).start_ids == [0]


def test_an_answer_ends_once(tokens: Tokens) -> None:
    """With what ends a turn, of which what follows is no part; and without a template with the end token."""
    assert answers(tokens, CHAT, "day", "night") == "night<|end|>"
    assert answers(tokens, PLAIN, "day", " night") == " night<|end|>"
    assert answers(tokens, Prompt(end="\n"), "day", "night") == "night\n<|end|>"
    assert answers(tokens, CHAT, "day", "") == "<|end|>"


@given(text=st.text(max_size=30), before=st.sampled_from(["", "<s><|user|>\n", "Q: "]), limit=st.integers(2, 60))
def test_only_the_input_is_cut(tokens: Tokens, text: str, before: str, limit: int) -> None:
    prompt = Prompt(before, " A:", "<", "")
    (full,) = encode_prompts(tokens, prompt, [text], 10**6)
    alone = len(encode_prompts(tokens, prompt, [""], 10**6)[0])
    # a character is kept whole or not at all
    if len(full) > limit and limit < alone + len(text[:1].encode()):
        with pytest.raises(SettingsError, match="leaves no room for the input"):
            encode_prompts(tokens, prompt, [text], limit)
        return
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        (ids,) = encode_prompts(tokens, prompt, [text], limit)
    cut = read(tokens, ids)
    assert cut.startswith("<s>" + before.removeprefix("<s>"))
    assert cut.endswith(" A:<")
    assert ids.tolist() == full.tolist() if len(full) <= limit else limit - 3 <= len(ids) <= limit
    assert "\ufffd" not in cut.replace(text, "")
    assert len(found) == (len(full) > limit)


def test_a_long_input_is_cut_with_a_warning(tokens: Tokens) -> None:
    with pytest.warns(EdgeLorahubWarning, match="text 8 has 40 tokens and is cut to 24"):
        _, ids = encode_prompts(tokens, Prompt("In: ", "\nOut:"), ["short", "x" * 30], 24, first=7)
    assert read(tokens, ids) == f"<s>In: {'x' * 14}\nOut:"
    with pytest.raises(SettingsError, match=r"text 1: its prompt alone has 10 tokens, which leaves no room"):
        encode_prompts(tokens, Prompt("In: ", "\nOut:"), ["day"], 10)


def test_a_long_answer_keeps_its_end(tokens: Tokens) -> None:
    with pytest.warns(EdgeLorahubWarning, match="the answer of text 1 has 11 tokens and is cut to 4"):
        assert answers(tokens, CHAT, "day", "x" * 10, 4) == "xxx<|end|>"


def test_an_answer_goes_on_where_the_prompt_ends(tmp_path: Path) -> None:
    """In one piece with it where no token of the prompt changes; apart where the two would melt together."""
    tokens = byte_tokens(tmp_path, merges=(("b", "c"), ("A", "b")))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (apart,) = encode_answers(tokens, PLAIN, [("A", "bc")], 99, [END])
    assert apart.tolist() == [300, END]  # of "Abc" the tokens are A and bc, as apart
    (melted,) = encode_answers(tokens, PLAIN, [("A", "b")], 99, [END])
    assert melted.tolist() == [letters.index("b"), END]  # "Ab" is one token, which no prompt "A" has


def test_special_tokens_in_a_text_are_read_as_such(tokens: Tokens) -> None:
    """As transformers reads them; an answer ends at the first of them that is an end."""
    assert END in encode_prompts(tokens, PLAIN, ["a<|end|>b"], 99)[0]
    assert answers(tokens, CHAT, "day", "a<|end|>b") == "a<|end|>"
