"""Stop strings: an answer ends before the first of them, wherever its tokens begin and end, and in pieces too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders

from edge_lorahub import EdgeLorahubWarning, Model, Sampling, generate, stream
from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.errors import SettingsError
from edge_lorahub.export.source.clean_up import REPLACEMENTS
from edge_lorahub.runtime.encoder_decoder.stepping import Stepping
from edge_lorahub.runtime.stopping import Stops, pieces
from edge_lorahub.runtime.tokens import Tokens

TEXTS = [" ".join(f"w{(7 * i + j) % 120 + 3}" for j in range(1 + 9 * i % 31)) for i in range(8)]
# Few characters, so that strings begin often, end rarely, and lie in one another.
STRINGS = st.lists(st.text("ab \n", min_size=1, max_size=4), max_size=3)
# What cleaning up spaces looks at.
CLEANED = st.sampled_from(["", "a", "n", "t", "'", "n't", "'s", "s", ".", ",", "?", "ve", "'", "m", "re", "!"])


def before_first(text: str, strings: Sequence[str]) -> str:
    """The definition."""
    for place in range(len(text)):
        if any(text.startswith(string, place) for string in strings):
            return text[:place]
    return text


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        ("", "must not be empty"), (["a", ""], "must not be empty"), ([3], "must be a text, got 3"),
        ([None], "must be a text, got None"), (b"a", "must be a text or a list of texts, got b'a'"),
        (3, "must be a text or a list of texts, got 3"), (None, "must be a text or a list of texts, got None"),
        ("a\ud800", r"stop string 'a\\ud800': not valid Unicode"),
    ],
)  # fmt: skip
def test_what_is_no_stop_string_is_refused(stop: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Stops(stop)


def test_one_text_is_one_stop_string() -> None:
    assert Stops("ab").cut("xaxabx") == "xax"
    assert Stops(["ab", "x"]).cut("yaxabx") == "ya"
    assert Stops(string for string in ("b", "b", "abc")).cut("xabc") == "x"
    assert Stops().cut("abc") == "abc"
    assert not Stops([])


@given(st.lists(st.text("ab \n", max_size=5), max_size=12), STRINGS)
def test_pieces_end_before_the_first_stop_string(parts: list[str], strings: list[str]) -> None:
    states = ["".join(parts[:count]) for count in range(len(parts) + 1)]
    assert "".join(pieces(states, Stops(strings))) == before_first(states[-1], strings)


@given(st.lists(CLEANED, max_size=14), st.lists(st.text("n't .am", min_size=1, max_size=4), max_size=2))
def test_what_was_shown_stays_when_spaces_are_cleaned_up(words: list[str], strings: list[str]) -> None:
    def cleaned(count: int) -> str:
        text = " ".join(words[:count])
        for old, new in REPLACEMENTS:
            text = text.replace(old, new)
        return text

    stops = Stops(strings)
    states = [cleaned(count) for count in range(len(words) + 1)]
    expected = before_first(states[-1], strings)
    assert "".join(pieces(states, stops)) == expected
    for state in states:
        left, ended = stops.so_far(state)
        assert expected.startswith(left)
        assert not ended or left == expected


@given(st.text("aé本🙂 b", max_size=8), st.lists(st.text("aé本🙂 b", min_size=1, max_size=3), max_size=2))
def test_characters_that_come_byte_by_byte(text: str, strings: list[str]) -> None:
    data = text.encode()
    states = [data[:count].decode(errors="replace") for count in range(len(data) + 1)]
    found = list(pieces(states, Stops(strings)))
    assert "".join(found) == before_first(text, strings)
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(found)


def test_nothing_is_waited_for_longer_than_needed() -> None:
    """A text without spaces comes character by character; what may become a stop string does not."""
    stops = Stops("\nQ:")
    assert stops.so_far("本日は") == ("本日は", False)
    assert stops.so_far("yes\nQ") == ("yes", False)
    assert stops.so_far("yes\nQx") == ("yes\nQx", False)
    assert stops.so_far("yes\nQ:") == ("yes", True)
    assert Stops(["b", "abc"]).so_far("xab") == ("x", False)  # which of them is the first is not known yet
    assert Stops(["b", "abc"]).so_far("xabd") == ("xa", True)


def test_the_rest_of_an_answer_is_not_asked_for() -> None:
    def states() -> Iterator[str]:
        yield "a\n"
        raise AssertionError("it has ended")

    assert list(filter(None, pieces(states(), Stops("\n")))) == ["a"]


@pytest.mark.filterwarnings("ignore:stop string 'no_such'")
@pytest.mark.parametrize("sampling", [None, Sampling(seed=3), Sampling(temperature=0, repetition_penalty=1.3)])
def test_answers_end_before_stop_strings_alone_in_batches_and_in_pieces(
    model: Model, sampling: Sampling | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate(model, TEXTS, max_new_tokens=40, sampling=sampling)
    words = [answer.split() for answer in whole]
    # within a word, across two words, and a whole one with its spaces
    stops = [words[0][3][1:], f"{words[1][5]} {words[1][6][:2]}", f" {words[2][9]} ", "no_such"]
    expected = [before_first(answer, stops) for answer in whole]
    assert sum(map(len, expected)) < sum(map(len, whole))
    steps: list[int] = []
    step = Stepping.step

    def watched(self: Stepping, ids: np.ndarray, *rest: object) -> np.ndarray:
        steps.append(len(ids))
        return step(self, ids, *rest)

    monkeypatch.setattr(Stepping, "step", watched)
    for size in (1, 3, 16):
        found = generate(model, TEXTS, max_new_tokens=40, sampling=sampling, stop=stops, batch_size=size)
        assert found == expected
    for number, (text, answer) in enumerate(zip(TEXTS, expected, strict=True), 1):
        steps.clear()
        found = list(stream(model, text, max_new_tokens=40, sampling=sampling, stop=stops, first=number))
        assert "".join(found) == answer
        assert all(found)
        in_pieces = len(steps)
        steps.clear()
        assert generate(model, [text], max_new_tokens=40, sampling=sampling, stop=stops, first=number) == [answer]
        assert len(steps) == in_pieces
        assert in_pieces <= len(answer.split()) + 8


def test_a_stop_string_that_no_token_can_write(model: Model) -> None:
    message = r"^stop string 'é3': this model's tokens have no 'é', so that it never comes$"
    with pytest.warns(EdgeLorahubWarning, match=message) as caught:
        generate(model, ["w3"], stop=["w3 w", "é3"], max_new_tokens=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_characters_of_pieces_and_of_bytes(shared: Path, tmp_path: Path) -> None:
    file = shared / "t5-tokenizer" / "tokenizer.json"
    t5 = Tokens(file, ModelConfig("t5", "x", 32128, 1, 1, 1, 1, 0, 1, 0, (1,)))
    for stop in ("\n", "a\nb", "{"):
        with pytest.warns(EdgeLorahubWarning, match="have no"):
            Stops(stop).warn_of_unwritable(t5)
    Stops(["Q: a b?", "é", " "]).warn_of_unwritable(t5)
    by_bytes = Tokenizer.from_file(str(file))
    by_bytes.decoder = decoders.ByteLevel()
    by_bytes.add_tokens(["\u0120\u00e6"])
    by_bytes.save(str(tmp_path / "tokenizer.json"))
    written = Tokens(tmp_path / "tokenizer.json", ModelConfig("t5", "x", 32128, 1, 1, 1, 1, 0, 1, 0, (1,)))
    Stops(["\n", "日"]).warn_of_unwritable(written)


def test_the_command_takes_stop_strings(run: Any, fails: Any, bundle: Path, model: Model) -> None:
    answer = generate(model, [TEXTS[3]], max_new_tokens=20)[0]
    words = answer.split()
    arguments = ("generate", bundle, TEXTS[3], "--max-new-tokens", 20)
    assert (
        run(*arguments, "--stop", words[8], "--stop", f"{words[4]} ").stdout
        == before_first(answer, [words[8], f"{words[4]} "]) + "\n"
    )
    assert "a stop string must not be empty" in fails(*arguments, "--stop", "")
    for typed, meant in ((r"\n", r"'\n'"), (r"\\n", r"'\\n'"), (r"\t\x", r"'\t\\x'"), ("a\\", r"'a\\'")):
        assert f"stop string {meant}: this model's tokens have no" in run(*arguments, "--stop", typed).stderr
    if os.name == "posix":
        assert "not valid Unicode" in fails(*arguments, "--stop", os.fsdecode(b"\xff"))
