"""What the vocabulary cannot say is warned about once, with numbers and an example of each kind."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.bundle.prompt import Prompt, TextRule
from edge_lorahub.errors import EdgeLorahubWarning, ExamplesError
from edge_lorahub.examples.example import Example, read_examples
from edge_lorahub.runtime.framing import framed_sources
from edge_lorahub.runtime.lost_text import warn_of_unreadable, warn_of_unwritable
from edge_lorahub.runtime.tokens import Tokens

PLAIN = Prompt()
CONFIG = ModelConfig("t5", "x", 32128, 1, 1, 1, 1, 0, 1, 0, (1,))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A vocabulary of the letters a to z, as pieces, in the manner of T5's tokenizer: no '{', no capitals."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram([*special, ("▁", -3.0), *letters], unk_id=2))
    tokenizer.normalizer = normalizers.Replace("\u200b", "")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token, _ in special])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    path = tmp_path_factory.mktemp("letters") / "tokenizer.json"
    tokenizer.save(str(path))
    return Tokens(path, CONFIG)


def warning_of(tokens: Tokens, *outputs: str, prompt: Prompt = PLAIN) -> str:
    with pytest.warns(EdgeLorahubWarning) as caught:
        warn_of_unwritable(tokens, [Example("?", output) for output in outputs], prompt)
    assert len(caught) == 1
    return str(caught[0].message)


@pytest.mark.parametrize("outputs", [(), ("a",), ("what it can say", "z")])
def test_what_it_can_say_is_not_warned_of(tokens: Tokens, outputs: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unwritable(tokens, [Example("? { ?", output) for output in outputs], PLAIN)


def test_the_unknown_token(tokens: Tokens) -> None:
    assert warning_of(tokens, "a", "{b}", "c{", "d") == (
        "2 of 4 outputs contain '{' or '}', which this tokenizer cannot write; they can never match "
        "(output 2, '{b}', is read back as 'b')"
    )
    assert "contain '1' or '2' or '3' or 2 more, which" in warning_of(tokens, "1 2 3 4 5")


def test_only_the_end_token_is_left(tokens: Tokens) -> None:
    assert warning_of(tokens, "a", "\u200b") == (
        "1 of 2 outputs have nothing that this tokenizer can write: only the end token is left; "
        "they can never match (output 2, '\\u200b', is read back as '')"
    )


@pytest.mark.parametrize("output", ["a\nb", " a", "a ", "a  b", "a</s>"])
def test_what_does_not_survive(tokens: Tokens, output: str) -> None:
    line = warning_of(tokens, output)
    assert line.startswith("1 of 1 outputs are changed by encoding and decoding")
    assert f"(output 1, {output!r}, is read back as " in line


def test_all_kinds_are_one_warning(tokens: Tokens) -> None:
    line = warning_of(tokens, "a\nb", "\u200b", "{", "}", "fine")
    assert "2 of 5 outputs contain '{' or '}'" in line
    assert "1 of 5 outputs have nothing" in line
    assert "1 of 5 outputs are changed" in line
    assert len(warning_of(tokens, "{" + "a" * 10_000)) < 400


def test_white_space_around_outputs_that_survives(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with byte-level tokenizers, and a space behind a comma in CSV."""
    monkeypatch.setattr(Tokens, "read_back", lambda self, texts: list(texts))
    assert warning_of(tokens, "a", " b", "c\n", "d e") == (
        "2 of 4 outputs begin or end with white space, as behind a comma in CSV, which an answer must have too to "
        "match (output 2, ' b', is learned as ' b')"
    )


def test_what_the_chat_template_strips_of_outputs(tokens: Tokens) -> None:
    strips = Prompt(output_rule=TextRule(None, None))
    assert warning_of(tokens, "a", " b", "c ", prompt=strips) == (
        "2 of 3 outputs have at their ends what the chat template strips of answers; they can never match exactly "
        "(output 2, ' b', is learned as 'b')"
    )
    line = warning_of(tokens, " {", "c ", "a\nb\n", prompt=strips)
    assert line.count("1 of 3 outputs") == 3
    assert "contain '{'" in line
    assert "(output 3, 'a\\nb\\n', is read back as 'a b')" in line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unwritable(tokens, [Example("?", "a b")], strips)


def read_warnings(tokens: Tokens, *inputs: str, prompt: Prompt = PLAIN) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sources = framed_sources(tokens, inputs, prompt, 100)
        warn_of_unreadable(tokens, [Example(text, "{") for text in inputs], sources)
    return [str(one.message) for one in caught]


def test_inputs_that_the_vocabulary_does_not_have(tokens: Tokens) -> None:
    assert read_warnings(tokens, "a", "b {c} {", "}", "\u200b") == [
        "2 of 4 inputs contain '}' or '{', for which this tokenizer has the unknown token alone, so that the model "
        "cannot tell one from another (input 2, 'b {c} {')"
    ]
    assert read_warnings(tokens) == read_warnings(tokens, "a b", "c") == []
    assert read_warnings(tokens, "a b", prompt=Prompt("{", "}")) == []


def test_words_are_named_whole_where_the_vocabulary_has_words(
    run: Callable[..., Result], bundle: Path, tmp_path: Path
) -> None:
    data = tmp_path / "x.jsonl"
    rows = [("w3", "w4"), ("w5", "été"), ("w5", "w6 or not")]
    data.write_text("".join(json.dumps({"input": i, "output": o}) + "\n" for i, o in rows))
    result = run("evaluate", bundle, data, "--max-new-tokens", 2)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "Warning: 2 of 3 outputs contain 'été' or 'not' or 'or', which this tokenizer cannot write; "
        "they can never match (output 2, 'été', is read back as '')"
    ]
    quiet = run("evaluate", bundle, data, "--max-new-tokens", 2, "--limit", 1)
    assert quiet.stderr == ""


def test_half_a_surrogate_pair_is_refused(tokens: Tokens) -> None:
    with pytest.raises(ExamplesError, match="not valid Unicode"):
        warn_of_unwritable(tokens, [Example("?", "\ud83d")], PLAIN)


def test_the_vocabulary_of_t5(shared: Path) -> None:
    t5 = Tokens(shared / "t5-tokenizer" / "tokenizer.json", CONFIG)
    line = warning_of(t5, *(e.output for e in read_examples(shared / "bbh" / "dyck_languages.json")))
    assert line.startswith("99 of 250 outputs contain '}', which this tokenizer cannot write; they can never match")
    line = warning_of(t5, *(e.output for e in read_examples(shared / "cases" / "examples" / "unspeakable.jsonl")))
    assert "2 of 4 outputs contain '}' or '{'" in line
    assert "1 of 4 outputs have nothing" in line
    assert "1 of 4 outputs are changed" in line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unwritable(t5, read_examples(shared / "bbh" / "date_understanding.json"), PLAIN)
