"""Tokens, batches, decoding and exact match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scores import forced, score

from edge_lorahub import Example, Model, evaluate, generate, load_adapter, stream
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import ExamplesError, SettingsError
from edge_lorahub.evaluation.matches import compare, normalize
from edge_lorahub.label_logits import scored
from edge_lorahub.runtime.answers import greedy
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.tokens import buckets

TEXTS = [" ".join(f"w{(7 * i + j) % 120 + 3}" for j in range(1 + 9 * i % 31)) for i in range(12)]


@given(st.lists(st.integers(1, 5000), max_size=60), st.none() | st.integers(1, 8))
def test_buckets_hold_every_text_once_with_little_padding(lengths: list[int], largest: int | None) -> None:
    groups = buckets(lengths, largest=largest)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[i] for i in group]
        padded = max(sizes) * len(sizes)
        assert len(group) == 1 or (padded <= 1.25 * sum(sizes) and padded <= 4096)
        assert largest is None or len(group) <= largest


def test_similar_lengths_share_a_bucket() -> None:
    assert buckets([70, 72, 68, 75, 71]) == [[2, 0, 4, 1, 3]]


def test_answers_do_not_depend_on_the_batch(model: Model) -> None:
    alone = [generate(model, [text], max_new_tokens=10)[0] for text in TEXTS]
    assert generate(model, TEXTS, max_new_tokens=10) == alone
    assert generate(model, TEXTS, max_new_tokens=10, batch_size=3) == alone
    assert len(set(alone)) > 1


def test_max_new_tokens(model: Model) -> None:
    for text in generate(model, TEXTS, max_new_tokens=3):
        assert len(text.split()) <= 3
    with pytest.raises(SettingsError, match="max_new_tokens must be at least 1"):
        generate(model, TEXTS, max_new_tokens=0)


def test_no_texts_no_answers(model: Model) -> None:
    assert generate(model, []) == []


def test_an_empty_text_is_answered(model: Model) -> None:
    assert len(generate(model, ["", "w3"], max_new_tokens=2)) == 2


def test_step_by_step_equals_teacher_forcing(model: Model, module_folders: list) -> None:
    """What greedy decoding chooses has, under teacher forcing, the largest logit at every position."""
    inputs = load_adapter(module_folders[0], model.manifest).inputs(model.manifest)
    rows = model.tokens.encode(TEXTS[:4], 99)
    ids, mask = model.tokens.pad(rows)
    runner = Runner(model, "score", inputs)
    for row, answer in enumerate(greedy(Runner(model, "generate", inputs), rows, 15)):
        labels = np.append(answer, 1)[None]
        logits = forced(runner, ids[row : row + 1], mask[row : row + 1], labels)
        assert logits[0].argmax(axis=1)[: len(answer)].tolist() == answer.tolist()


def test_losses_do_not_depend_on_the_bucket(model: Model, examples: list[Example]) -> None:
    runner = Runner(model, "score", plain_inputs(model.manifest.slots))
    together = score(runner, examples, 2048, 256)
    for index, example in enumerate(examples):
        alone = score(runner, [example], 2048, 256)
        assert alone.sums[0] == pytest.approx(together.sums[index], rel=1e-5)
        assert alone.tokens[0] == together.tokens[index] == 3


def test_cross_entropy_is_that_of_the_formula() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 30)).astype(np.float32) * 20
    labels = np.array([3, 0, 29, 7])
    wide = logits.astype(np.longdouble)
    expected = sum(np.log(np.exp(row).sum()) - row[label] for row, label in zip(wide, labels, strict=True))
    assert scored(logits, labels)[0] == pytest.approx(float(expected), rel=1e-6)


def test_cross_entropy_of_large_logits_is_finite() -> None:
    assert scored(np.array([[1e4, 0.0]], np.float32), np.array([1]))[0] == pytest.approx(1e4)


def test_the_normalized_match_compares_as_the_released_code() -> None:
    assert normalize("  Yes. ") == normalize("yes")
    assert normalize("U.S.A.") == "usa"
    assert normalize("a b") != normalize("ab")


@pytest.mark.filterwarnings("ignore::edge_lorahub.EdgeLorahubWarning")
def test_evaluate_counts_matches(model: Model) -> None:
    answers = generate(model, TEXTS[:4], max_new_tokens=6)
    right = [Example(t, f" {a.upper()}.") for t, a in zip(TEXTS, answers, strict=False)]
    result = evaluate(model, [*right[:3], Example(TEXTS[3], "something else")], max_new_tokens=6)
    assert result.normalized == (True, True, True, False)
    assert result.exact == (False,) * 4
    assert (result.exact_match_percent, result.normalized_match_percent) == (0, 75)
    assert list(result.predictions) == answers
    with pytest.raises(ExamplesError, match="no examples"):
        evaluate(model, [])


def test_what_is_exact_is_normalized_too() -> None:
    outputs = ["Yes.", "Yes.", "Yes.", "Yes."]
    result = compare(["Yes.", "yes", "Yes. ", "No."], [Example("?", output) for output in outputs])
    assert result.exact == (True, False, False, False)
    assert result.normalized == (True, True, True, False)
    assert repr(result) == "Evaluation(4 predictions, exact match 25.0 %, normalized match 75.0 %)"
    with pytest.raises(ExamplesError, match="no examples"):
        compare([], [])


@pytest.mark.parametrize(
    "examples", ["examples.jsonl", [("a", "b")], [{"input": "a", "output": "b"}], [None], iter([])]
)
def test_what_is_no_list_of_examples_is_refused(model: Model, examples: object) -> None:
    with pytest.raises(SettingsError, match="must be a"):
        evaluate(model, examples)  # type: ignore[arg-type]


def test_a_folder_is_no_model(bundle: Path, examples: list[Example]) -> None:
    for call in (generate, stream):
        with pytest.raises(SettingsError, match=r"model must be a Model, .*edge_lorahub\.load"):
            call(bundle, "w3")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"model must be a Model"):
        evaluate(bundle, examples)  # type: ignore[arg-type]
