"""Journals that two processes want, that outlive what they are of, and that know how long it took."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from edge_lorahub import Example, Modules, Settings, load
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.errors import EdgeLorahubWarning, JournalError
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.runtime.scoring import Scorer
from edge_lorahub.search.budget import Budget
from edge_lorahub.search.journal import Journal
from edge_lorahub.search.strategy import Observation

Run = Callable[..., Result]
ONE = Observation(np.array([0.5, 0.25]), 1.5, np.array([1.0, 2.0]))


class Killed(BaseException):
    """What ends a process at once."""


@pytest.fixture
def arguments(bundle: Path, examples_file: Path, module_folders: list[Path]) -> list[object]:
    return ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--budget", 12, "--no-answers"]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    batch, left = Scorer.batch, iter(range(batches))

    def interrupted(self: Scorer, *rest: int) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return batch(self, *rest)

    monkeypatch.setattr(Scorer, "batch", interrupted)


@pytest.fixture
def interrupted(run: Run, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The output of a search that was interrupted, and what was said then."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 16)
        ended = run(*arguments, "--out", tmp_path / "out")
    return tmp_path / "out", ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
@pytest.mark.parametrize("options", [{"resume": True}, {"resume": False, "overwrite": True}, {"resume": False}])
def test_a_journal_that_another_has_open_is_neither_continued_nor_replaced(
    options: dict[str, bool], tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path, "digest", resume=False)) as running:
        running.record([ONE], 0.1)
        with pytest.raises(JournalError, match="another process is running this search; wait"):
            Journal(path, "digest", **options)
        running.record([ONE], 0.1)
    with closing(Journal(path, "digest", resume=True)) as again:
        assert len(again.known) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_another_process_is_refused_too(
    tmp_path: Path, run: Run, fails: Callable[..., str], arguments: list[object]
) -> None:
    path = tmp_path / "out.journal.jsonl"
    program = (
        "import sys; from pathlib import Path; from edge_lorahub.search.journal import Journal\n"
        f"j = Journal(Path({str(path)!r}), 'digest', resume=False); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        for options in (["--resume"], ["--force"], []):
            line = fails(*arguments, "--out", tmp_path / "out", *options)
            assert "another process is running this search" in line
        process.kill()
    assert path.exists()
    # the lock ends with its process
    assert run(*arguments, "--out", tmp_path / "out", "--force").exit_code == 0


def test_a_journal_removes_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "digest", resume=False)
    path.rename(tmp_path / "moved.jsonl")
    path.write_text("another's")
    journal.remove()
    assert path.read_text() == "another's"


def test_a_journal_without_a_candidate_stays_where_it_was_to_be_resumed(
    run: Run, arguments: list[object], interrupted: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = interrupted
    journal = tmp_path / "out.journal.jsonl"
    header = journal.read_bytes().splitlines(keepends=True)[0]
    journal.write_bytes(header)
    refused = run(*arguments, "--out", out, "--resume", "--keep-best")
    assert refused.exit_code == 2
    assert "leave --keep-best out to go on" in refused.stderr
    assert journal.read_bytes().startswith(header)
    assert run(*arguments, "--out", out, "--resume").exit_code == 0


def test_a_search_that_never_had_a_candidate_leaves_no_journal(
    run: Run, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, 0)
    ended = run(*arguments, "--out", tmp_path / "out")
    assert "ended after" not in ended.stderr
    assert not (tmp_path / "out.journal.jsonl").exists()


def test_a_journal_of_other_candidates_is_one_line(
    run: Run, arguments: list[object], interrupted: tuple[Path, str], tmp_path: Path
) -> None:
    journal = tmp_path / "out.journal.jsonl"
    rows = journal.read_text().splitlines()
    place = next(i for i, row in enumerate(rows) if json.loads(row).get("seen"))
    row = json.loads(rows[place])
    row["seen"][0]["weights"][0] = 0.125
    rows[place] = json.dumps(row)
    journal.write_text("\n".join(rows) + "\n")
    said = run(*arguments, "--out", interrupted[0], "--resume").stderr
    assert "Error:" in said
    assert "it has other candidates" in said
    assert "ended after" in interrupted[1]
    assert "ended after" not in said
    assert journal.exists()


def test_the_best_so_far_leaves_the_journal_to_go_on_with(
    run: Run, arguments: list[object], interrupted: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = interrupted
    journal = tmp_path / "out.journal.jsonl"
    rows = journal.read_text().splitlines(keepends=True)
    first = next(i for i, row in enumerate(rows) if json.loads(row).get("seen"))
    journal.write_text("".join(rows[: first + 1]))
    best = run(*arguments, "--out", out, "--resume", "--keep-best")
    assert "resumed: 1 candidate known" in best.stderr
    assert "in no candidate, as the search was ended: module-0" in " ".join(best.stdout.split())
    assert "--resume --force, and without --keep-best, goes on" in best.stderr
    resumed = run(*arguments, "--out", out, "--resume", "--force")
    assert resumed.exit_code == 0, resumed.output
    assert "saved already" not in resumed.stderr
    assert not journal.exists()


@pytest.mark.parametrize("option", ["--warm-start", "--reuse"])
def test_an_adapter_that_replaced_what_it_began_with_is_found_saved(
    option: str, run: Run, arguments: list[object], tmp_path: Path
) -> None:
    out, journal = tmp_path / "out", tmp_path / "out.journal.jsonl"
    assert run(*arguments, "--out", out).exit_code == 0
    arguments = [*arguments, "--regularization", 0.01, option, out, "--out", out, "--force"]
    with pytest.MonkeyPatch.context() as patch:

        def killed(self: Journal) -> None:
            self.close()
            raise Killed

        patch.setattr(Journal, "remove", killed)
        with pytest.raises(Killed):
            run(*arguments)
    before = (out / "edge_lorahub.json").read_bytes()
    assert journal.exists()
    resumed = run(*arguments, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "saved already" in resumed.stderr
    assert not journal.exists()
    assert (out / "edge_lorahub.json").read_bytes() == before


def test_an_adapter_that_was_not_saved_yet_is_not_found_saved(
    run: Run, arguments: list[object], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def killed(self: Adapter, *_: object, **__: object) -> None:
            raise Killed

        patch.setattr(Adapter, "save", killed)
        with pytest.raises(Killed):
            run(*arguments, "--out", tmp_path / "out")
    resumed = run(*arguments, "--out", tmp_path / "out", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "saved already" not in resumed.stderr
    assert (tmp_path / "out" / "edge_lorahub.json").exists()


@contextmanager
def journal_of(tmp_path: Path, *, fresh: bool) -> Iterator[Callable[[str], Journal]]:
    """Opens a journal, which is closed in the end as it is where a process ends."""
    with ExitStack() as stack:
        yield lambda digest: stack.enter_context(closing(Journal(tmp_path / "journal.jsonl", digest, resume=not fresh)))


def test_the_time_cap_outlives_an_end_before_it_was_decided(
    bundle: Path, modules: Modules, examples: list[Example], tmp_path: Path
) -> None:
    model = load(bundle, threads=1)
    path = tmp_path / "journal.jsonl"
    with journal_of(tmp_path, fresh=True) as opened:
        learn(model, modules, examples, Settings(), open_journal=opened)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    first = next(i for i, row in enumerate(rows) if "seen" in row)
    assert rows[first]["seconds"] > 0
    rows[first]["seconds"] = 15.0  # a slow machine, and killed before the budget was fixed
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[: first + 1]))
    told: list[Budget] = []
    with journal_of(tmp_path, fresh=False) as opened:
        found = learn(model, modules, examples, Settings(), on_budget=told.append, open_journal=opened)
    assert found.budget == told[-1].candidates == 40
    assert told[0].candidates == 65


def test_time_and_threads_of_both_processes_count(
    bundle: Path, modules: Modules, examples: list[Example], tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    with journal_of(tmp_path, fresh=True) as opened:
        learn(load(bundle, threads=1), modules, examples, Settings(budget=8), open_journal=opened)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if "elapsed" in row:
            row["elapsed"] = 1000.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-2]))
    with (
        journal_of(tmp_path, fresh=False) as opened,
        pytest.warns(EdgeLorahubWarning, match="begun with threads=1 and goes on with 2"),
    ):
        found = learn(load(bundle, threads=2), modules, examples, Settings(budget=8), open_journal=opened)
    assert 1000 < found.seconds < 1100
