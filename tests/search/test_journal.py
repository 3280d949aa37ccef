"""The journal: a search that was ended at any moment goes on, and ends as one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from test_assisted import EXAMPLES, MODULES, TOKENS, Problem

from edge_lorahub.errors import EdgeLorahubWarning, JournalError
from edge_lorahub.export import export
from edge_lorahub.label_logits import LabelLogits
from edge_lorahub.search.assisted import SurrogateSearch
from edge_lorahub.search.budget import Budget
from edge_lorahub.search.choose import make_strategy
from edge_lorahub.search.journal import Journal, journaled
from edge_lorahub.search.loop import Found, search
from edge_lorahub.search.settings import SearchSettings
from edge_lorahub.search.strategy import Observation, Proposal
from edge_lorahub.search.surrogate import Labels
from edge_lorahub.tinyhub import DEV_TASKS
from edge_lorahub.tinyhub import examples as task_examples
from edge_lorahub.tinyhub.hub import BASE
from edge_lorahub.tinyhub.hub import module_folders as module_folders_of

BUDGET = 30
LABELS = Labels.of(np.full(EXAMPLES, float(TOKENS)))
SETTINGS = [SearchSettings(), SearchSettings(surrogate=False), SearchSettings(optimizer="nevergrad:OnePlusOne"),
            SearchSettings(optimizer="reference")]  # fmt: skip


@pytest.fixture(autouse=True)
def _end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what a killed search leaves open, as the end of its process does."""
    opened: list[Journal] = []
    begin = Journal.__init__

    def kept(self: Journal, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        opened.append(self)

    monkeypatch.setattr(Journal, "__init__", kept)
    yield
    for journal in opened:
        journal.close()


class Killed(BaseException):
    """What ends a process between two candidates."""


def run(settings: SearchSettings, journal: Journal | None, *, kill_after: int | None = None) -> Found:
    problem = Problem()
    evaluated = 0

    def evaluate(proposal: Proposal) -> Iterator[Observation]:
        nonlocal evaluated
        for observation in problem(proposal):
            if evaluated == kill_after:
                raise Killed
            evaluated += 1
            yield observation

    strategy = make_strategy(settings, MODULES, BUDGET, labels=LABELS)
    if journal is None:
        return search(evaluate, strategy, BUDGET)
    with closing(journal):
        return search(journaled(evaluate, journal), strategy, BUDGET)


def told(found: Found) -> list[tuple[bytes, float, float | None]]:
    return [(c.weights.tobytes(), c.loss, c.predicted) for c in found.trace]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.optimizer + ("" if s.assisted else ", no surrogate"))
@pytest.mark.parametrize("killed", [0, 1, 2, 5, 13, 14, 17, 20])
def test_what_was_ended_goes_on_to_the_same_end(settings: SearchSettings, killed: int, tmp_path: Path) -> None:
    whole = run(settings, None)
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed):
        run(settings, Journal(path, "digest", resume=False), kill_after=killed)
    resumed = Journal(path, "digest", resume=True)
    again = run(settings, resumed, kill_after=len(whole.trace) - resumed.candidates)
    assert told(again) == told(whole)
    assert again.weights.tobytes() == whole.weights.tobytes()
    # and what the journal holds now replays without evaluating anything
    replayed = run(settings, Journal(path, "digest", resume=True), kill_after=0)
    assert told(replayed) == told(whole)


def timeless(data: bytes) -> list[dict[str, object]]:
    """A journal's rows without what its candidates took."""
    rows = [json.loads(line) for line in data.splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "elapsed")} for row in rows]


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = run(SETTINGS[0], Journal(path, "digest", resume=False))
    data = path.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == ord("\n"))]
    for line in (1, 2, 15, len(starts) - 3):
        start, end = starts[line], starts[line + 1]
        for torn in (start, start + 1, (start + end) // 2, end - 1):
            path.write_bytes(data[:torn])
            assert told(run(SETTINGS[0], Journal(path, "digest", resume=True))) == told(whole)
            assert timeless(path.read_bytes()) == timeless(data)


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    run(SETTINGS[0], Journal(path, "digest", resume=False))
    lines = path.read_bytes().splitlines(keepends=True)
    for bad in (b"{\n", b"[1]\n", b'{"seen": [{"loss": 1}]}\n', lines[4].replace(b'"losses": [', b'"losses": ["x", ')):
        path.write_bytes(b"".join([*lines[:4], bad, *lines[5:]]))
        with pytest.raises(JournalError, match="line 5: damaged"):
            Journal(path, "digest", resume=True)


def test_journals_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(JournalError, match="no journal to resume from; leave --resume out"):
        Journal(path, "digest", resume=True)
    Journal(path, "digest", resume=False).close()
    with pytest.raises(JournalError, match="did not end; --resume goes on with it, --force begins anew"):
        Journal(path, "digest", resume=False)
    with pytest.raises(JournalError, match="other inputs or settings"):
        Journal(path, "another", resume=True)
    Journal(path, "another", resume=False, overwrite=True).close()
    for content in (
        b"",
        b"my diary\n",
        b'{"name": "x"}\n',
        b'{"name": "edge-lorahub journal", "format": 99}\n',
        b'{"name": "edge-lorahub journal", "format": 1, "digest": "digest"}',
    ):
        path.write_bytes(content)
        for options in ({"resume": True}, {"resume": False, "overwrite": True}):
            with pytest.raises(JournalError, match="no journal of this version; move it away"):
                Journal(path, "digest", **options)
        assert path.read_bytes() == content


def test_another_searchs_candidates_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    run(SearchSettings(surrogate=False, seed=1), Journal(path, "digest", resume=False))
    with pytest.raises(JournalError, match="other candidates than this search asks for"):
        run(SearchSettings(surrogate=False, seed=2), Journal(path, "digest", resume=True))


def test_an_observation_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = LabelLogits(
        rng.integers(0, 2**31 - 1, (3, 7)), rng.standard_normal((3, 7)).astype(np.float32),
        np.array([-np.inf, 1e-30, 5.5], np.float32),
    )  # fmt: skip
    one = Observation(np.array([1 / 3, -0.0, 1e-300]), 0.1 + 0.2, np.array([np.pi, np.nan]), logits)
    stopped = Observation(np.array([0.5, 0.25, 0.125]), np.inf)
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "digest", resume=False)
    journal.record([one, stopped], 0.5)
    journal.fix_budget(Budget(17, "as given"))
    journal.close()
    again = Journal(path, "digest", resume=True)
    assert again.fix_budget(Budget(99, "other", 5.0)) == Budget(17, "as given")
    first, second = again.known
    assert first.weights.tobytes() == one.weights.tobytes()
    assert (first.loss, second.loss) == (one.loss, np.inf)
    assert first.losses is not None
    np.testing.assert_array_equal(first.losses, one.losses)
    assert first.logits is not None
    for name in ("tokens", "logits", "rest"):
        found, expected = getattr(first.logits, name), getattr(logits, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert second.losses is second.logits is None


def test_the_best_so_far_without_evaluating_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed):
        run(SETTINGS[0], Journal(path, "digest", resume=False), kill_after=17)
    journal = Journal(path, "digest", resume=True)
    known = journal.known
    strategy = SurrogateSearch(SETTINGS[0], MODULES, LABELS)
    found = search(journaled(lambda _: pytest.fail("evaluated"), journal, known_only=True), strategy, BUDGET)
    assert len(found.trace) == 17
    best = min(known, key=lambda observation: observation.loss)
    assert found.weights.tobytes() == best.weights.tobytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_search_outlives_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    whole = run(SETTINGS[0], None)
    journal = Journal(tmp_path / "journal.jsonl", "digest", resume=False)
    journal.close()
    journal._file = open("/dev/full", "w", encoding="ascii")  # noqa: SIM115
    with pytest.warns(
        EdgeLorahubWarning, match="cannot be written any more .No space left on device.; the search goes on"
    ):
        found = run(SETTINGS[0], journal)
    assert told(found) == told(whole)
    assert not journal.whole
    journal.close()


Run = Callable[..., Result]


def test_adapt_after_an_interrupt(
    run: Run, fails: Callable[..., str], bundle: Path, examples_file: Path, module_folders: list[Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edge_lorahub.runtime.scoring import Scorer

    arguments = ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--budget", 12, "--no-answers"]
    whole = json.loads(run(*arguments, "--out", tmp_path / "whole", "--json").stdout)
    batch = Scorer.batch
    left = iter(range(16))

    def interrupted(self: Scorer, *rest: int) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return batch(self, *rest)

    monkeypatch.setattr(Scorer, "batch", interrupted)
    out = tmp_path / "out"
    ended = run(*arguments, "--out", out)
    assert ended.exit_code
    assert "the same command with --resume goes on" in ended.stderr
    monkeypatch.setattr(Scorer, "batch", batch)
    assert not out.exists()
    journal = tmp_path / "out.journal.jsonl"
    assert "--resume goes on with it, --force begins anew" in fails(*arguments, "--out", out)
    assert "other inputs or settings" in fails(*arguments, "--seed", 2, "--out", out, "--resume")
    assert "give --resume too" in fails(*arguments, "--out", out, "--keep-best")
    before = journal.read_bytes()
    best = json.loads(run(*arguments, "--out", out, "--resume", "--keep-best", "--json").stdout)
    assert 1 < len(best["trace"]) < len(whole["trace"])
    assert best["trace"] == whole["trace"][: len(best["trace"])]
    assert journal.read_bytes().startswith(before)
    resumed = json.loads(run(*arguments, "--out", out, "--resume", "--force", "--json").stdout)
    assert resumed["trace"] == whole["trace"]
    assert resumed["weights"] == whole["weights"]
    assert not journal.exists()


def test_weights_outlive_an_adapter_that_cannot_be_saved(
    run: Run, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edge_lorahub.composition.adapter import Adapter

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    save = Adapter.save
    monkeypatch.setattr(Adapter, "save", full)
    arguments = ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--budget", 12, "--no-answers",
                 "--regularization", 0.01, "--out", tmp_path / "out"]  # fmt: skip
    failed = run(*arguments)
    assert failed.exit_code == 2
    assert "No space left on device" in failed.stderr
    assert "the adapter could not be saved; its weights: module-" in failed.stderr
    monkeypatch.setattr(Adapter, "save", save)
    monkeypatch.setattr("edge_lorahub.runtime.scoring.Scorer.batch", lambda *_: pytest.fail("searched again"))
    saved = run(*arguments, "--resume", "--json")
    assert saved.exit_code == 0, saved.output
    record = json.loads(saved.stdout)
    name, weight = max(record["weights"].items(), key=lambda item: abs(item[1]))
    assert f"{name} {weight:+.4f}" in failed.stderr


def lines_of(path: Path) -> int:
    """How many lines a file has; 0 where there is none."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What adapts on the embedded hub, but for the search and the output: five examples, 24 modules, one thread."""
    folder = tmp_path_factory.mktemp("hub")
    export(BASE, folder / "bundle")
    rows = [json.dumps({"input": i, "output": o}) for i, o in task_examples(DEV_TASKS[0].task, 5, 1)]
    (folder / "examples.jsonl").write_text("\n".join(rows))
    modules = [part for module in module_folders_of("clean") for part in ("--module", str(module))]
    return [
        *(sys.executable, "-m", "edge_lorahub", "adapt", str(folder / "bundle"), str(folder / "examples.jsonl")),
        *(*modules, "--threads", "1", "--no-answers", "--json"),
    ]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(
    ("search_options", "number"),
    [
        pytest.param([], signal.SIGKILL, id="default"),
        pytest.param(["--optimizer", "reference"], signal.SIGKILL, id="reference"),
        pytest.param(["--no-surrogate"], signal.SIGTERM, id="CMA-ES, terminated"),
    ],
)
def test_a_killed_process_goes_on(
    hub: list[str], tmp_path: Path, search_options: list[str], number: signal.Signals
) -> None:
    """Real processes, killed at random moments of their search. EDGE_LORAHUB_KILLS=100 kills so many; one by default.

    Which moments they are, by the candidates that the journal has and the milliseconds since, is seeded.
    """
    command = [*hub, *search_options, "--out"]
    whole = subprocess.run([*command, tmp_path / "whole"], capture_output=True, text=True, check=True)
    expected = json.loads(whole.stdout)
    rng = np.random.default_rng(0)
    kills = int(os.environ.get("EDGE_LORAHUB_KILLS", "1"))
    known: list[int] = []
    while len(known) < kills:
        out = tmp_path / f"out-{len(known)}"
        journal = tmp_path / f"{out.name}.journal.jsonl"
        lines, delay = int(rng.integers(1, len(expected["trace"]))), float(rng.uniform(0, 0.03))
        with subprocess.Popen([*command, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and lines_of(journal) < lines:
                time.sleep(0.001)
            time.sleep(delay)
            process.send_signal(number)
        if out.exists():  # it was faster
            shutil.rmtree(out)
            journal.unlink(missing_ok=True)
            continue
        known.append(lines_of(journal))
        resumed = subprocess.run([*command, out, "--resume"], capture_output=True, text=True, check=False)
        assert resumed.returncode == 0, resumed.stderr
        found = json.loads(resumed.stdout)
        assert found["trace"] == expected["trace"]
        assert found["weights"] == expected["weights"]
        assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "whole"]
        shutil.rmtree(out)
    print(f"{kills} killed, with {min(known)} to {max(known)} lines in their journals")
