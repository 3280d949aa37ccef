"""Evaluations of an earlier search: taken as they are where nothing differs, and not at all where something does."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from edge_lorahub import (
    Adaptation,
    Evaluations,
    Example,
    Model,
    Modules,
    Settings,
    adapt,
    load,
    load_adapter,
    load_evaluations,
)
from edge_lorahub.composition.record import Reused
from edge_lorahub.errors import EdgeLorahubWarning
from edge_lorahub.export import export
from edge_lorahub.learning.reuse import Collected
from edge_lorahub.runtime.encoder_decoder.teacher_forcing import TeacherForcing
from edge_lorahub.search.evaluations import EVALUATIONS, LARGEST
from edge_lorahub.testing.random_models import write_module

SETTINGS = Settings(budget=20)
MORE = [Example(" ".join(f"w{3 + 7 * i + j}" for j in range(3 + 6 * i)), f"w{50 + i} w{40 - i} w9") for i in range(3)]


@pytest.fixture
def texts_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many texts every run of the graphs for the loss scored."""
    seen: list[int] = []
    run = TeacherForcing.run

    def counted(self: TeacherForcing) -> list[np.ndarray]:
        seen.append(len(self.logits))
        return run(self)

    monkeypatch.setattr(TeacherForcing, "run", counted)
    return seen


def search(
    model: Model, modules: Modules, examples: Sequence[Example], earlier: Adaptation, *, reuse: bool = True,
    workers: int | None = None,
) -> Adaptation:  # fmt: skip
    """A warm start, with the earlier evaluations or without."""
    return adapt(model, modules, examples, SETTINGS, start=earlier.weights,
                 evaluations=earlier.evaluations if reuse else None, workers=workers)  # fmt: skip


def trace(result: Adaptation) -> list[tuple[bytes, float]]:
    return [(candidate.weights.tobytes(), candidate.loss) for candidate in result.trace]


@pytest.fixture
def earlier(model: Model, modules: Modules, examples: list[Example]) -> Adaptation:
    return adapt(model, modules, examples, SETTINGS)


def test_where_nothing_differs_the_same_comes_out_bit_for_bit(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, texts_run: list[int]
) -> None:
    texts_run.clear()
    fresh = search(model, modules, examples, earlier, reuse=False)
    all_of_it = sum(texts_run)
    texts_run.clear()
    again = search(model, modules, examples, earlier)
    assert trace(again) == trace(fresh)
    assert again.weights == fresh.weights
    # the modules alone cost nothing; the plain model and the weights found are evaluated, to compare
    assert sum(texts_run) == all_of_it - 4 * 5
    assert again.reused == 4 * 5
    assert again.record.reused == Reused(candidates=4, examples=5, evaluations=20)
    assert fresh.record.reused == Reused(candidates=0, examples=0, evaluations=0)
    assert (again.record.evaluations_sha256, fresh.record.evaluations_sha256) == (earlier.evaluations.digest, None)  # type: ignore[union-attr]


def test_with_three_examples_added_to_five_only_these_are_evaluated(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, texts_run: list[int]
) -> None:
    both = [*MORE[:1], *examples, *MORE[1:]]  # in any order
    fresh = search(model, modules, both, earlier, reuse=False)
    texts_run.clear()
    more = search(model, modules, both, earlier)
    assert more.explanation is not None
    whole = len(more.trace) - 4 + 3 * len(more.explanation.checked)
    assert sum(texts_run) == 8 * whole + 3 * 4
    assert more.record.reused == Reused(candidates=4, examples=5, evaluations=20)
    # other batches round otherwise in the last digits, and the search goes the same way
    for one, other in zip(more.trace[:6], fresh.trace[:6], strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert more.loss_after == pytest.approx(fresh.loss_after, rel=1e-3)


def test_what_is_reused_is_what_would_be_evaluated(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation
) -> None:
    known = earlier.evaluations
    assert known is not None
    fresh = adapt(model, modules, [*examples, *MORE], SETTINGS).evaluations
    more = adapt(model, modules, [*examples, *MORE], SETTINGS, evaluations=known).evaluations
    assert fresh is not None
    assert more is not None
    for row in np.flatnonzero((more.weights != 0).sum(axis=1) == 1):  # the modules alone
        weights = more.weights[row]
        there = int(np.flatnonzero((known.weights == weights).all(axis=1))[0])
        other = int(np.flatnonzero((fresh.weights == weights).all(axis=1))[0])
        np.testing.assert_array_equal(more.losses[row, :5], known.losses[there])
        np.testing.assert_allclose(more.losses[row], fresh.losses[other], rtol=1e-5)
        for example in range(5):
            one, same = more.label_logits(row, example), known.label_logits(there, example)
            np.testing.assert_array_equal(one.tokens, same.tokens)
            np.testing.assert_array_equal(one.logits, same.logits)
            np.testing.assert_array_equal(one.rest, same.rest)


def test_examples_that_were_dropped_are_left_out(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation
) -> None:
    kept = [examples[3], MORE[0], examples[1]]
    fresh, less = (search(model, modules, kept, earlier, reuse=reuse) for reuse in (False, True))
    assert less.record.reused.examples == 2
    for one, other in zip(less.trace[:6], fresh.trace[:6], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    none = search(model, modules, MORE, earlier)
    assert (none.reused, none.record.reused.examples) == (0, 0)
    assert trace(none) == trace(search(model, modules, MORE, earlier, reuse=False))


def test_an_example_given_twice(model: Model, modules: Modules, examples: list[Example], earlier: Adaptation) -> None:
    twice = [*examples, examples[2], examples[2]]
    fresh, again = (search(model, modules, twice, earlier, reuse=reuse) for reuse in (False, True))
    assert again.record.reused.examples == 7
    for one, other in zip(again.trace[:6], fresh.trace[:6], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_a_third_search_uses_the_seconds(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation
) -> None:
    second = search(model, modules, [*examples, *MORE[:2]], earlier)
    third = search(model, modules, [*examples, *MORE], second)
    assert third.record.reused.examples == 7
    again = search(model, modules, [*examples, *MORE[:2]], second)
    assert trace(again) == trace(search(model, modules, [*examples, *MORE[:2]], second))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(
    bundle: Path, modules: Modules, examples: list[Example], earlier: Adaptation, workers: int
) -> None:
    both = [*examples, *MORE]
    assert trace(search(load(bundle, threads=workers), modules, both, earlier, workers=workers)) == trace(
        search(load(bundle, threads=2), modules, both, earlier, workers=1)
    )


@pytest.mark.parametrize("kind", ["objective", "text_objective"])
def test_with_an_objective_of_ones_own_the_guide_is_reused(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, kind: str
) -> None:
    def own(seen: Sequence[object], given: Sequence[Example]) -> float:
        return float(np.max(seen)) if kind == "objective" else float(sum(map(len, seen)))  # type: ignore

    def run(known: Evaluations | None) -> Adaptation:
        return adapt(model, modules, examples, SETTINGS, evaluations=known, **{kind: own})  # type: ignore

    one, other = run(earlier.evaluations), run(None)
    assert trace(one) == trace(other)
    assert (one.reused, other.reused) == (20, 0)


def refused(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, words: str,
    settings: Settings = SETTINGS, known: Evaluations | None = None,
) -> None:  # fmt: skip
    """One warning says why, and the search is the same as without the evaluations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        fresh = adapt(model, modules, examples, settings)
    with pytest.warns(EdgeLorahubWarning) as caught:
        result = adapt(model, modules, examples, settings, evaluations=known or earlier.evaluations)
    lines = [str(w.message) for w in caught if "evaluations are not used" in str(w.message)]
    assert len(lines) == 1
    assert words in lines[0]
    assert result.reused == 0
    assert trace(result) == trace(fresh)


def test_evaluations_of_something_else_are_not_used_and_a_line_says_why(
    checkpoint: Path, bundle: Path, model: Model, modules: Modules, module_folders: list[Path],
    examples: list[Example], earlier: Adaptation, tmp_path: Path,
) -> None:  # fmt: skip
    more = Modules.load([*module_folders, write_module(tmp_path / "m", "tiny", seed=9, rank=1)])
    refused(model, more, examples, earlier, "other modules, or of these in another order")
    refused(model, Modules.load(module_folders[::-1]), examples, earlier, "in another order")
    refused(model, Modules.load(module_folders[:3]), examples, earlier, "other modules")
    paper = replace(SETTINGS, composition="paper")
    refused(model, modules, examples, earlier, "of exact composition, and this is paper", paper)
    short = [replace(example, output="w20") for example in examples]
    words = "other graphs (LoRA in float32; here LoRA in float32, for short outputs)"
    refused(model, modules, short, earlier, words)
    export(checkpoint, tmp_path / "slots", slots=["q", "v", "k"])
    refused(load(tmp_path / "slots", threads=1), modules, examples, earlier, "of another bundle")


def test_evaluations_in_fp32_are_not_used_in_int8(
    checkpoint: Path, modules: Modules, examples: list[Example], earlier: Adaptation, tmp_path: Path
) -> None:
    export(checkpoint, tmp_path / "int8", precision="int8")
    refused(load(tmp_path / "int8", threads=1), modules, examples, earlier, "in fp32, and the bundle is in int8")


def test_evaluations_that_are_not_what_comes_out_here_are_not_used(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation
) -> None:
    known = earlier.evaluations
    assert known is not None
    for row in (0, 1):  # the plain model; the weights found, where they are the start
        assert not known.weights[0].any()
        losses = known.losses.copy()
        losses[row, 2] *= 1.01
        wrong = replace(known, losses=losses)
        start = dict(zip(modules.names, known.weights[row].tolist(), strict=True))
        fresh = adapt(model, modules, [*examples, *MORE], SETTINGS, start=start)
        with pytest.warns(EdgeLorahubWarning, match="example 3 has a loss of .* here, and had .* for the same weights"):
            found = adapt(model, modules, [*examples, *MORE], SETTINGS, start=start, evaluations=wrong)
        assert found.reused == 0
        assert found.loss_after == pytest.approx(fresh.loss_after, rel=1e-3)


def test_other_tokens_are_another_example(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation
) -> None:
    """As where a text is cut elsewhere, or its output is another."""
    changed = [
        replace(examples[0], output="w20 w31"),
        examples[1],
        replace(examples[2], input=examples[2].input.rpartition(" ")[0]),
    ]
    assert search(model, modules, changed, earlier).record.reused.examples == 1
    with pytest.warns(EdgeLorahubWarning, match="is cut to 16"):
        cut = adapt(model, modules, examples, replace(SETTINGS, max_input_tokens=16), evaluations=earlier.evaluations)
    assert 0 < cut.record.reused.examples < 5


def test_in_int8_a_batch_counts_only_as_it_was(
    checkpoint: Path, modules: Modules, examples: list[Example], tmp_path: Path, texts_run: list[int]
) -> None:
    """One scale for all texts of a batch: bit for bit with examples added, and anew for a batch that lost one."""
    export(checkpoint, tmp_path / "int8", precision="int8")
    model = load(tmp_path / "int8", threads=1)
    earlier = adapt(model, modules, examples, SETTINGS)
    known = earlier.evaluations
    assert known is not None
    batches = {batch for batch in known.batches if len(batch) > 1}
    assert batches
    more = search(model, modules, [*examples, *MORE], earlier)
    assert more.record.reused.examples == 5
    # every later candidate is evaluated in the same batches as well
    assert more.evaluations is not None
    assert set(known.batches) <= set(more.evaluations.batches)
    np.testing.assert_array_equal(more.evaluations.losses[0, :5], known.losses[0])
    dropped = max(batches, key=len)[0]
    rest = [example for place, example in enumerate(examples) if place != dropped]
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        less = search(model, modules, rest, earlier)
    assert less.record.reused.examples == 5 - len(max(batches, key=len))


def test_what_is_kept_goes_into_the_adapters_folder_and_comes_back(earlier: Adaptation, tmp_path: Path) -> None:
    known = earlier.evaluations
    assert known is not None
    earlier.adapter.save(tmp_path / "out")
    back = load_evaluations(tmp_path / "out")
    assert back is not None
    assert back.digest == known.digest
    assert (back.examples, back.batches, dict(back.origin)) == (known.examples, known.batches, dict(known.origin))
    for name in ("counts", "weights", "losses", "tokens", "logits", "rest"):
        np.testing.assert_array_equal(getattr(back, name), getattr(known, name))
    # the plain model, what was found, and the modules alone
    assert len(known.weights) == 6
    np.testing.assert_array_equal(known.weights[1], list(earlier.weights.values()))
    with pytest.warns(EdgeLorahubWarning, match="rank 1 loses"):
        truncated, _ = earlier.adapter.truncated(1)
    truncated.save(tmp_path / "out", force=True)
    assert load_evaluations(tmp_path / "out").digest == known.digest  # type: ignore[union-attr]
    assert load_adapter(tmp_path / "out").evaluations is None  # a file of megabytes, which answers do not need


def test_searches_without_label_logits_keep_nothing(
    model: Model, modules: Modules, examples: list[Example], tmp_path: Path
) -> None:
    for settings in (Settings(surrogate=False, budget=8), Settings(composition="paper", budget=8)):
        result = adapt(model, modules, examples, settings)
        assert result.evaluations is None
        result.adapter.save(tmp_path / "out", force=True)
        assert not (tmp_path / "out" / EVALUATIONS).exists()
        assert load_evaluations(tmp_path / "out") is None


def test_what_is_kept_is_bounded(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = earlier.evaluations
    assert whole is not None
    one = (whole.tokens.nbytes + whole.logits.nbytes + whole.rest.nbytes) // len(whole.weights)
    monkeypatch.setattr("edge_lorahub.learning.reuse.LARGEST", int(4.5 * one))
    part = adapt(model, modules, examples, SETTINGS).evaluations
    assert part is not None
    assert not part.weights[0].any()
    assert len(part.weights) == 4
    # the probes that were left out are evaluated as ever
    again = search(model, modules, examples, replace(earlier, evaluations=part))
    assert again.record.reused.candidates == 2
    assert again.weights == search(model, modules, examples, earlier).weights
    monkeypatch.setattr("edge_lorahub.learning.reuse.LARGEST", one)
    assert adapt(model, modules, examples, SETTINGS).evaluations is None
    assert LARGEST <= 64 << 20


def test_means_come_back_bit_for_bit_from_their_sums() -> None:
    """(s / t) t / t == s / t for whole numbers t: the product is as near to it as s was."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 3000, 200_000).astype(float)
    means = rng.gamma(1, 10, tokens.size) * 10.0 ** rng.integers(-9, 9, tokens.size) / tokens
    np.testing.assert_array_equal(means * tokens / tokens, means)


def test_large_vocabularies_keep_their_ids() -> None:
    assert Collected(np.ones(1), 1 << 16)._kind == np.uint16
    assert Collected(np.ones(1), (1 << 16) + 1)._kind == np.uint32


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:-100],
    "truncated header": lambda data: data[:50],
    "empty": lambda data: b"",
    "text": lambda data: b"version https://git-lfs.github.com/spec/v1\n",
    "a bit near the end": lambda data: _flipped(data, len(data) - 40),
    "a bit of the middle": lambda data: _flipped(data, len(data) // 2),
    "another precision": lambda data: data.replace(b"fp32", b"int8"),
    "another format": lambda data: data.replace(b'\\"format\\": 1', b'\\"format\\": 2'),
    "another name": lambda data: data.replace(b'"rest"', b'"test"'),
    "longer": lambda data: data + b"0",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_warning_and_nothing_is_reused(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, tmp_path: Path, damage: str
) -> None:
    earlier.adapter.save(tmp_path / "out")
    path = tmp_path / "out" / EVALUATIONS
    before = path.read_bytes()
    path.write_bytes(DAMAGES[damage](before))
    assert path.read_bytes() != before
    with pytest.warns(
        EdgeLorahubWarning, match="damaged .*; it is not used, and everything is evaluated anew"
    ) as caught:
        assert load_evaluations(tmp_path / "out") is None
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)


def test_strange_things_in_the_files_place(earlier: Adaptation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    earlier.adapter.save(out)
    path = out / EVALUATIONS
    for make in (
        path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(tmp_path / "nowhere"),
        lambda: path.write_bytes(b"\xff" * 8 + b"{}"), lambda: path.write_bytes(b"\x02" + b"\0" * 7 + b"{}"),
    ):  # fmt: skip
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        make()
        with pytest.warns(EdgeLorahubWarning, match="damaged") as caught:
            assert load_evaluations(out) is None
        assert len(caught) == 1
    path.unlink()
    with path.open("wb") as file:
        file.truncate(LARGEST * 2)
    with pytest.warns(EdgeLorahubWarning, match="larger than"):
        assert load_evaluations(out) is None


# --- the command line


def _file(path: Path, examples: Sequence[Example]) -> Path:
    path.write_text("".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in examples))
    return path


def test_a_warm_start_on_the_command_line(
    run: Callable[..., Result], bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    five, eight = _file(tmp_path / "5.jsonl", examples), _file(tmp_path / "8.jsonl", [*examples, *MORE])
    common = ["--threads", 1, "--budget", 15, "--no-answers", *(f"--module={folder}" for folder in module_folders)]
    first, out = tmp_path / "first", tmp_path / "out"
    assert run("adapt", bundle, five, *common, "--out", first).exit_code == 0
    assert sorted(path.name for path in first.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "edge_lorahub.json", EVALUATIONS,
    ]  # fmt: skip
    warm = [*common, "--warm-start", first]
    shown = run("adapt", bundle, eight, *warm, "--out", out)
    assert shown.exit_code == 0, shown.output
    assert "known from the earlier search: 5 examples with 4 candidates, 20 evaluations\n" in shown.stdout
    record = json.loads(run("adapt", bundle, eight, *warm, "--out", out, "--force", "--json").stdout)
    assert record["reused"]["evaluations"] == 20
    data = (first / EVALUATIONS).read_bytes()
    (first / EVALUATIONS).write_bytes(data[:-1])
    damaged = run("adapt", bundle, eight, *warm, "--out", out, "--force", "--json")
    assert damaged.exit_code == 0
    assert json.loads(damaged.stdout)["reused"] == {"candidates": 0, "examples": 0, "evaluations": 0}
    assert len([line for line in damaged.stderr.splitlines() if EVALUATIONS in line]) == 1
    # an adapter from before there was such a file
    (first / EVALUATIONS).unlink()
    older = run("adapt", bundle, eight, *warm, "--out", out, "--force", "--json")
    assert older.exit_code == 0
    assert json.loads(older.stdout)["reused"]["evaluations"] == 0
    assert "Warning" not in older.stderr
    # the older output goes with its evaluations, and a stranger's file beside it keeps it
    shutil.copy(five, out / "mine")
    assert run("adapt", bundle, eight, *warm, "--out", out, "--force").exit_code == 2


def test_what_was_seen_can_be_reused_without_beginning_at_the_earlier_weights(
    run: Callable[..., Result], fails: Callable[..., str], bundle: Path, module_folders: list[Path],
    examples: list[Example], tmp_path: Path,
) -> None:  # fmt: skip
    five, eight = _file(tmp_path / "5.jsonl", examples), _file(tmp_path / "8.jsonl", [*examples, *MORE])
    common = ["--threads", 1, "--budget", 15, "--json", *(f"--module={folder}" for folder in module_folders)]
    first, out = tmp_path / "first", tmp_path / "out"
    run("adapt", bundle, five, *common, "--out", first)
    fresh = json.loads(run("adapt", bundle, eight, *common, "--out", tmp_path / "fresh").stdout)
    more = json.loads(run("adapt", bundle, eight, *common, "--out", out, "--reuse", first).stdout)
    assert more["reused"]["evaluations"] == 20
    assert "start" not in more
    assert more["weights"] == pytest.approx(fresh["weights"], abs=0.05)
    assert len(more["trace"]) == len(fresh["trace"])
    for words, arguments in (
        ("no evaluations.safetensors in it; name an adapter that `adapt` has saved", ["--reuse", module_folders[0]]),
        ("--reuse is for the surrogate", ["--reuse", first, "--composition", "paper"]),
        ("--reuse is for the surrogate", ["--reuse", first, "--optimizer", "reference"]),
        ("--reuse is for the surrogate", ["--reuse", first, "--no-surrogate"]),
        ("no such folder", ["--reuse", tmp_path / "nowhere"]),
    ):
        assert words in fails("adapt", bundle, eight, *common, "--out", tmp_path / "new", *arguments)


def test_a_search_that_reuses_is_resumed_to_the_same_weights(
    model: Model, modules: Modules, examples: list[Example], earlier: Adaptation, tmp_path: Path
) -> None:
    from edge_lorahub.learning.adaptation import learn
    from edge_lorahub.search.journal import Journal

    both = [*examples, *MORE]
    path = tmp_path / "journal.jsonl"
    told = 0

    def stop(candidate: object) -> None:
        nonlocal told
        told += 1
        if told == 5:
            raise KeyboardInterrupt

    known = {"start": earlier.weights, "evaluations": earlier.evaluations}

    def journal(stack: ExitStack, resume: bool) -> Callable[[str], Journal]:
        return lambda digest: stack.enter_context(closing(Journal(path, digest, resume=resume)))

    with ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        learn(model, modules, both, SETTINGS, **known, on_candidate=stop, open_journal=journal(stack, False))
    with ExitStack() as stack:
        resumed = learn(model, modules, both, SETTINGS, **known, open_journal=journal(stack, True))
    whole = search(model, modules, both, earlier)
    assert trace(resumed) == trace(whole)  # type: ignore[arg-type]
    assert resumed.record.reused == whole.record.reused
    assert resumed.evaluations.digest == whole.evaluations.digest  # type: ignore[union-attr]
    # without the evaluations it is another search: its batches are others
    from edge_lorahub.errors import JournalError

    with pytest.raises(JournalError, match="other inputs or settings"):
        learn(model, modules, both, SETTINGS, start=earlier.weights,
              open_journal=lambda digest: Journal(path, digest, resume=True))  # fmt: skip
