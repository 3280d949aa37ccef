"""Texts packed as a tree: each distinct beginning once, and nothing of them lost."""

from __future__ import annotations

import numpy as np
import pytest
from decoders import random_texts, task_of
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub.bundle.decoder_only import PLACES, POSITIONS, ROWS, SCORED, SCORED_PLACES, SCORED_ROWS
from edge_lorahub.bundle.graphs import INPUT_IDS
from edge_lorahub.errors import SettingsError
from edge_lorahub.runtime.decoder_only.packed_scoring import packed_batches
from edge_lorahub.runtime.decoder_only.packing import Packed, Text, check_texts, pack


@st.composite
def some_texts(draw: st.DrawFn) -> list[Text]:
    """Of few different tokens, so that many begin alike."""
    found = []
    for ids in draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=6)):
        found.append(Text(np.array(ids, np.int64), draw(st.integers(1, len(ids) - 1))))
    return found


@given(some_texts())
def test_every_beginning_is_there_once(texts: list[Text]) -> None:
    packed = pack(texts)
    beginnings = {tuple(text.ids[: end + 1].tolist()) for text in texts for end in range(len(text.ids))}
    assert packed.tokens == len(beginnings)
    assert {beginning(packed, node) for node in range(packed.tokens)} == beginnings


@given(some_texts())
def test_the_texts_can_be_read_back(texts: list[Text]) -> None:
    packed = pack(texts)
    inputs = packed.inputs
    for row, text in zip(inputs[ROWS], texts, strict=True):
        nodes = row[: len(text.ids)]
        assert inputs[INPUT_IDS][nodes].tolist() == text.ids.tolist()
        assert inputs[POSITIONS][nodes].tolist() == list(range(len(text.ids)))
        assert (row[len(text.ids) :] < packed.tokens).all()
    # a token's context is taken from a place where it stands
    assert inputs[ROWS].ravel()[inputs[PLACES]].tolist() == list(range(packed.tokens))


@given(some_texts())
def test_the_logits_before_each_label_are_asked_for(texts: list[Text]) -> None:
    packed = pack(texts)
    inputs = packed.inputs
    before = [row[text.start - 1 : len(text.ids) - 1] for row, text in zip(inputs[ROWS], texts, strict=True)]
    assert inputs[SCORED].tolist() == np.concatenate(before).tolist()
    assert inputs[SCORED_ROWS].ravel()[inputs[SCORED_PLACES]].tolist() == list(range(packed.scored))
    labels = [text.ids[text.start :].tolist() for text in texts]
    assert [found.tolist() for found in packed.labels] == labels
    # each text's label tokens are in a row of their own, from its start on
    for row, mine in zip(inputs[SCORED_ROWS], labels, strict=True):
        assert np.diff(row[: len(mine)]).tolist() == [1] * (len(mine) - 1)


def beginning(packed: Packed, node: int) -> tuple[int, ...]:
    """The tokens up to a packed token, by its place."""
    rows, place = packed.inputs[ROWS], packed.inputs[PLACES][node]
    row, position = divmod(int(place), rows.shape[1])
    return tuple(packed.inputs[INPUT_IDS][rows[row, : position + 1]].tolist())


def test_one_input_with_several_answers_is_there_once() -> None:
    prompt = np.arange(50)
    texts = [Text(np.append(prompt, answer), 50) for answer in (7, 8, 9)]
    packed = pack(texts)
    assert packed.tokens == 53
    assert packed.inputs[SCORED].tolist() == [49, 49, 49]


def test_batches_are_of_similar_length_and_lose_nothing() -> None:
    texts = random_texts(96, (5, 300, 7, 290, 6))
    batches = packed_batches(task_of(texts), range(5), None, 768)
    assert sorted(i for batch in batches for i in batch.members) == [0, 1, 2, 3, 4]
    assert [sorted(batch.members) for batch in batches] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize(("tokens", "start"), [(3, 0), (3, 3), (3, 4), (0, 0), (1, 1), (3, -1)])
def test_labels_need_a_token_before_them(tokens: int, start: int) -> None:
    fine = Text(np.arange(4), 2)
    with pytest.raises(SettingsError, match=f"text 2: {tokens} tokens, of which the labels begin at {start}"):
        check_texts(dict(enumerate([fine, Text(np.arange(tokens), start)])), None)


def test_a_texts_number_is_that_among_all() -> None:
    texts = [Text(np.arange(n), 1) for n in (90, 5, 91, 1)]
    with pytest.raises(SettingsError, match="text 4: 1 tokens"):
        packed_batches(task_of(texts), range(4), None, 768)
    with pytest.raises(SettingsError, match="text 3 has 91 tokens"):
        packed_batches(task_of(texts), range(3), 90, 768)


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(SettingsError, match=r"text 1 has 11 tokens .* positions end at 10; shorten it"):
        check_texts({0: Text(np.arange(11), 2)}, 10)
    check_texts({0: Text(np.arange(10), 2)}, 10)
