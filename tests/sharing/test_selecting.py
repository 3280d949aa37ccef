"""So many modules of more: by what they say, without the others' tensors, and by what they do alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from schemas import validator

from edge_lorahub import EdgeLorahubWarning, Example, Hub, Model, Modules, Settings, adapt
from edge_lorahub.composition.record_file import read_record
from edge_lorahub.errors import SettingsError, StoreError
from edge_lorahub.hub.index import INDEX
from edge_lorahub.learning.alone import losses_alone
from edge_lorahub.lora.loading import load_module
from edge_lorahub.runtime.prompt_choice import choose_prompt
from edge_lorahub.sharing.similarity import similarities
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]
TASK = [Example("reverse the words: w1 w2 w3", "w3 w2 w1"), Example("reverse the words: w4 w5", "w5 w4")]


@pytest.fixture
def described(hub: Hub, tmp_path: Path) -> Hub:
    """Modules of which three say what they are for: in a card, in a name, and in examples."""
    cards = {"a": "Sorts things.", "b": "Answers in the reversed order of words.", "c": "Writes French.", "d": ""}
    for number, (name, card) in enumerate(cards.items()):
        folder = write_module(tmp_path / name, "tiny", seed=number, rank=2)
        (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# {name}\n\n{card}\nTrained with peft.\n")
        hub.add(folder)
    hub.add(write_module(tmp_path / "words-reverse", "tiny", seed=7, rank=2))
    hub.add(write_module(tmp_path / "e", "tiny", seed=8, rank=2), examples=[Example("reverse the words: q r", "r q")])
    return hub


def test_the_cosine_is_that_of_scikit_learns_counts() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts = ["Sort the words", "reverse THE words reversed", "the cat sat", "words words words", "of the other kind"]
    query = "reversing some words of words"
    counts = np.hstack([
        text.CountVectorizer(**settings).fit(texts).transform([*texts, query]).toarray()
        for settings in ({}, {"analyzer": "char_wb", "ngram_range": (4, 4)})
    ])  # fmt: skip
    idf = np.log(len(texts) / (counts[:-1] > 0).sum(axis=0))
    vectors = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(similarities(query, texts), vectors[:-1] @ vectors[-1], atol=1e-12)


def test_properties_of_the_similarity() -> None:
    texts = ["one two", "two three", "four", ""]
    found = similarities("one two", texts)
    assert found[0] == pytest.approx(1)
    assert found[0] > found[1] > found[2] == found[3] == 0
    assert similarities("one two", texts[::-1]) == pytest.approx(found[::-1])
    assert similarities("the same", ["the same", "the same"]) == [0, 0]  # what all say tells nothing
    assert similarities("", texts) == [0, 0, 0, 0]
    assert similarities("x", []) == []


def test_those_that_say_what_the_task_is_of_are_taken(described: Hub) -> None:
    found = described.modules(count=3, similar_to=TASK)
    assert {*found.names} == {"b", "words-reverse", "e"}
    assert described.modules(count=3, similar_to=TASK).names == found.names
    with pytest.warns(EdgeLorahubWarning, match=r"only \d of 6 modules say anything that the examples say too"):
        assert len(described.modules(count=6, similar_to=TASK)) == 6
    with pytest.raises(StoreError, match="there are 6 to draw from, and 7 were asked for"):
        described.modules(count=7, similar_to=TASK)
    with pytest.raises(SettingsError, match="give a count too"):
        described.modules(similar_to=TASK)


def test_no_others_tensors_are_read(described: Hub) -> None:
    for name in ("a", "c", "d"):
        shutil.rmtree(described.get(name).folder)
    assert {*described.modules(count=3, similar_to=TASK).names} == {"b", "words-reverse", "e"}


def test_modules_of_before_the_index_kept_texts(described: Hub) -> None:
    """Their cards are read."""
    expected = described.modules(count=2, similar_to=TASK).names
    connection = sqlite3.connect(described.path / INDEX)
    connection.executescript("DROP TABLE descriptions; DROP TABLE example_texts; PRAGMA user_version = 1")
    connection.close()
    described.tag(["e"], "reverse the words: q r r q")
    assert {*described.modules(count=3, similar_to=TASK).names} == {*expected, "b", "e", "words-reverse"}
    assert described.verify() == {}


def test_texts_go_with_their_module(described: Hub) -> None:
    for name in ("e", "b"):
        described.remove(name)
    connection = sqlite3.connect(described.path / INDEX)
    assert connection.execute("SELECT count(*) FROM example_texts").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM descriptions").fetchone() == (4,)
    connection.close()


def test_a_probe_is_the_searchs_own(model: Model, modules: Modules, examples: list[Example]) -> None:
    """The loss that `adapt` gives the candidate with one module alone; the same in any company."""
    result = adapt(model, modules, examples, budget=6, regularization=0.0)
    expected = {int(np.flatnonzero(c.weights)[0]): c.loss for c in result.trace if c.phase == "probing"}
    found = losses_alone(model, modules, examples, Settings(), choose_prompt(model.bundle))
    assert len(expected) == 4
    np.testing.assert_allclose(found, [expected[place] for place in range(4)], rtol=1e-6)
    again = losses_alone(model, Modules([modules[2]]), examples, Settings(), choose_prompt(model.bundle))
    np.testing.assert_allclose(again, found[2:3], rtol=1e-6)


@pytest.mark.parametrize("method", ["random", "similar", "probe"])
@pytest.mark.parametrize("stored", [True, False])
def test_adapt(
    run: Run, bundle: Path, examples_file: Path, described: Hub, model: Model, examples: list[Example], tmp_path: Path,
    method: str, stored: bool,
) -> None:  # fmt: skip
    """What was taken, and why, is on the terminal and in the record."""
    (tmp_path / "list").write_text("".join(f"{name}\n" for name in ("a", "b", "c", "d", "words-reverse", "e")))
    (tmp_path / "e" / "README.md").write_text("reverse the words")
    examples_file.write_text("".join(json.dumps({"input": f"reverse the words: {e.input}", "output": e.output}) + "\n"
                                     for e in examples))  # fmt: skip
    where = ("--hub", "--store", described.path) if stored else ("--modules", tmp_path / "list")
    done = run("adapt", bundle, examples_file, *where, "--select", method, "--count", 2, "--seed", 3, "--budget", 4,
               "--no-answers", "--json", "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    validator("record.schema.json").validate(json.loads((tmp_path / "out" / "edge_lorahub.json").read_text()))
    selection = record["selection"]
    assert (selection["method"], selection["considered"], selection["seed"]) == (method, 6, 3)
    assert {*selection["scores"]} == {*record["weights"]}
    kept = read_record(load_module(tmp_path / "out"))
    assert kept is not None
    assert kept.selection is not None
    assert kept.selection.scores == selection["scores"]
    line = next(line for line in done.stderr.splitlines() if line.startswith("2 of 6 modules, "))
    assert all(name in line for name in record["weights"])
    if method == "similar":
        assert {*record["weights"]} < {"b", "words-reverse", "e"}
    if method == "probe":
        pool = described.modules()
        task = [Example(f"reverse the words: {e.input}", e.output) for e in examples]
        losses = losses_alone(model, pool, task, Settings(), choose_prompt(model.bundle))
        least = sorted(zip(losses, pool.names, strict=True))[:2]
        assert {*record["weights"]} == {name for _, name in least}
        np.testing.assert_allclose([selection["scores"][name] for _, name in least], [loss for loss, _ in least], 1e-6)


def test_what_is_refused(
    fails: Callable[..., str], bundle: Path, examples_file: Path, described: Hub, tmp_path: Path
) -> None:
    adapt_ = ("adapt", bundle, examples_file, "--out", tmp_path / "out")
    hub = ("--hub", "--store", described.path)
    assert "--select similar: give --count" in fails(*adapt_, *hub, "--select", "similar")
    assert "give --hub or --modules too" in fails(*adapt_, "-m", tmp_path / "a", "--count", 1)
    for method in ("random", "similar", "probe"):
        line = fails(*adapt_, *hub, "--select", method, "--count", 7)
        assert "there are 6 to draw from, and 7 were asked for" in line
    line = fails("hub", "add", tmp_path / "a", tmp_path / "b", "--examples", examples_file, "--store", described.path)
    assert "examples are of one module, and there are 2" in line
