"""The command line as a user meets it: help, light starts, and every command's output."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import edge_lorahub
from edge_lorahub import Example, Modules, load
from edge_lorahub.cli import options
from edge_lorahub.cli.main import COMMANDS, cli
from edge_lorahub.comparison.best_single import best_single

Run = Callable[..., Result]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_and_option_has_help(run: Run, path: tuple[str, ...], command: click.Command) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in result.output
    if len(path) == 1:
        assert COMMANDS[path[0]][1] == command.help.splitlines()[0] == command.short_help


def test_the_readme_names_every_command(run: Run) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"edge-lorahub {name}" not in readme] == []
    assert all(name in run("--help").output for name in COMMANDS)


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh process has imported, and edge_lorahub's, after some code."""
    script = f"{code}\nimport sys; print('modules', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].removeprefix("modules ").split())


def test_importing_is_light() -> None:
    every_name = f"import edge_lorahub; [getattr(edge_lorahub, n) for n in {edge_lorahub.__all__!r}]"
    heavy = {"torch", "transformers", "nevergrad", "onnx", "edge_lorahub.export", "edge_lorahub.bench"}
    assert loaded(every_name) & heavy == set()
    assert "onnxruntime" in loaded(every_name)


def test_help_is_lighter() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from edge_lorahub.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert loaded(code) & {"numpy", "onnxruntime", "tokenizers", "rich", "nevergrad", "huggingface_hub"} == set()


@pytest.mark.parametrize(
    "chosen", [[], ["--no-surrogate"], ["--composition", "paper"], ["--memory-limit", "1GB"]], ids=" ".join
)
def test_adapting_by_cma_needs_no_nevergrad(
    chosen: list[str], bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    arguments = ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--out", tmp_path / "out"]
    arguments += [*chosen, "--budget", "9", "--threads", "1"]
    code = (
        f"import sys; sys.argv = ['x', *{list(map(str, arguments))!r}]\n"
        "from edge_lorahub.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code"
    )
    assert loaded(code) & {"nevergrad", "cma", "scipy", "pandas"} == set()


def test_version() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "edge_lorahub", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"edge-lorahub, version {edge_lorahub.__version__}\n"


def test_an_unknown_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        edge_lorahub.nothing  # noqa: B018


def test_adapt_reports_weights_and_losses(
    run: Run, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    arguments = ["adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--budget", 9]
    report = run(*arguments, "--out", tmp_path / "ö out", "--rank", 2)
    assert report.exit_code == 0, report.output
    assert "4 modules, 5 examples, CMA-ES with a surrogate of the label logits, exact composition" in report.stdout
    assert "interval" in report.stdout
    assert "9 candidates" in report.stdout
    assert "probing: candidate 2 of at most 9" in report.stderr
    plain = run(*arguments, "--out", tmp_path / "plain", "--no-surrogate", "--no-answers")
    assert "CMA-ES (population 6, step size" in plain.stdout
    assert "truncated to rank 2: relative error" in report.stdout
    assert re.search(r"^Warning: rank 2 loses \d\d% of the adapter's change", report.stderr, re.MULTILINE)
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "plain").iterdir()}
    modes |= {file.name: file.stat().st_mode for file in (tmp_path / "ö out").iterdir()}
    assert "evaluations.safetensors" in modes
    assert len(set(modes.values())) == 1, modes
    whole = run(*arguments, "--out", tmp_path / "whole", "--no-answers", "--rank", 999)
    assert re.search(r"^nothing is truncated by --rank 999, as the adapter has rank \d+$", whole.stdout, re.MULTILINE)
    record = json.loads(run(*arguments, "--out", tmp_path / "json", "--json", "--rank", 1).stdout)
    assert set(record["weights"]) == {f"module-{i}" for i in range(4)}
    assert 0 < record["truncation_error"] < 1
    assert json.loads((tmp_path / "json" / "edge_lorahub.json").read_text())["weights"] == record["weights"]
    shown = run("inspect", tmp_path / "ö out").stdout
    assert "adapter" in shown
    assert "module-3" in shown
    reference = run(*arguments, "--out", tmp_path / "reference", "--optimizer", "reference")
    assert "NGOpt, paper composition" in reference.stdout
    assert "as the released code counts it" in reference.stdout


def test_weights_that_are_all_0_have_nothing_to_truncate(
    run: Run, bundle: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path
) -> None:
    arguments = ("adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--no-answers")
    search = ("--regularization", 1e6, "--budget", 9, "--rank", 2)
    result = run(*arguments, *search, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "edge_lorahub.json").read_text())
    assert set(record["weights"].values()) == {0.0}
    assert "nothing is truncated by --rank 2, as the adapter has rank 1" in result.stdout  # a pair of zeros


def test_adapt_keeps_examples_aside_and_measures_on_them(
    run: Run, bundle: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"input": f"w{10 + i} w{20 + i}", "output": f"w{30 + i}"} for i in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["adapt", bundle, data, "--modules", module_folders[0].parent, "--budget", 9]
    result = run(*arguments, "--out", tmp_path / "out", "--json", "--holdout", "25%")
    assert (
        "learning from the first 20 of 30 examples; --limit 30 takes them all, and about 1.5 times as long"
        in result.stderr
    )
    record = json.loads(result.stdout)
    assert record["examples"]["count"] == 20
    assert record["held_out"]["count"] == 10
    modules, learned = Modules.load(module_folders), [Example(row["input"], row["output"]) for row in rows[:20]]
    single = int(best_single(load(bundle), modules, learned).argmax())
    assert record["held_out"]["best_single_module"] == modules[single].name
    who = ["plain model", "best single module", "adapted"]
    assert list(record["held_out"]) == ["count", "best_single_module", *who]
    assert all(set(record["held_out"][name]) == {"exact_match_percent", "normalized_match_percent"} for name in who)
    assert len(record["answers"]) == 20
    # the ones kept aside are the file's last: what evaluate says of them is the same
    last = tmp_path / "last.jsonl"
    last.write_text("".join(json.dumps(row) + "\n" for row in rows[30:]))
    alone = json.loads(run("evaluate", bundle, last, "--adapter", tmp_path / "out", "--json").stdout)
    assert record["held_out"]["adapted"]["exact_match_percent"] == alone["exact_match_percent"]
    report = run(*arguments, "--out", tmp_path / "report", "--holdout", 10, "--limit", 3).stdout
    assert "on 10 examples kept aside, %" in " ".join(report.replace("┃", " ").split())
    assert "example 3" in report


def test_a_warm_start_is_tried_first(
    run: Run, fails: Callable[..., str], bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    arguments = ["adapt", bundle, examples_file, "--budget", 20, "--json", "--no-answers", "--regularization", 0.01]
    modules = ["--modules", module_folders[0].parent]
    first = json.loads(run(*arguments, *modules, "--out", tmp_path / "first").stdout)
    assert any(first["weights"].values())
    warm = ["--warm-start", tmp_path / "first"]
    again = json.loads(run(*arguments, *modules, *warm, "--out", tmp_path / "again").stdout)
    assert again["trace"][1]["weights"] == list(first["weights"].values())
    assert again["start"] == first["weights"]
    assert again["loss"]["after_with_regularization"] <= first["loss"]["after"] + 1e-9
    fewer = run(*arguments, "--module", module_folders[1], *warm, "--out", tmp_path / "fewer")
    assert "name modules that are not among these, and are left out: module-0, module-2, module-3" in fewer.stderr
    stranger = shutil.copytree(module_folders[1], tmp_path / "stranger")
    line = fails(*arguments, "--module", stranger, *warm, "--out", tmp_path / "none")
    assert "other modules than these, so none would be used: module-0, module-1, module-2, module-3; take" in line
    no_record = fails(*arguments, *modules, "--warm-start", module_folders[0], "--out", tmp_path / "no")
    assert "no record of weights to start from" in no_record
    other = ["--optimizer", "nevergrad:DE", "--out", tmp_path / "other"]
    assert "--warm-start is for --optimizer cma" in fails(*arguments, *modules, *warm, *other)


def test_generate_from_every_source(run: Run, bundle: Path, examples_file: Path, examples: list[Example]) -> None:
    options = ("--max-new-tokens", 4)
    expected = run("generate", bundle, *options, *(e.input for e in examples)).stdout
    assert expected.count("\n") == 5
    assert run("generate", bundle, *options, "--file", examples_file).stdout == expected
    lines = "".join(e.input + "\n" for e in examples)
    assert run("generate", bundle, *options, stdin=lines).stdout == expected
    assert run("generate", bundle, *options, stdin=lines.replace("\n", "\r\n")).stdout == expected
    windows = ("\ufeff" + lines.replace("\n", "\r\n")).encode()
    rows = run("generate", bundle, *options, "--json", stdin=windows).stdout.splitlines()
    assert [json.loads(row)["input"] for row in rows] == [e.input for e in examples]
    rows = run("generate", bundle, *options, "--json", "--file", examples_file).stdout.splitlines()
    assert [json.loads(row)["input"] for row in rows] == [e.input for e in examples]
    assert [json.loads(row)["output"] for row in rows] == expected.splitlines()


def test_generate_refuses_no_texts_and_two_sources(
    fails: Callable[..., str], bundle: Path, examples_file: Path
) -> None:
    assert "no texts" in fails("generate", bundle, stdin="")
    assert "not UTF-8" in fails("generate", bundle, stdin=b"\xff\xfe")
    assert "give one of them" in fails("generate", bundle, "w3", "--file", examples_file)


def test_an_adapter_changes_the_answers_and_baking_keeps_them(
    run: Run, bundle: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    text = "w10 w11 w12"
    plain = run("generate", bundle, text).stdout
    adapted = run("generate", bundle, text, "--adapter", module_folders[0]).stdout
    assert adapted != plain
    baked = run("bake", bundle, module_folders[0], tmp_path / "baked")
    assert baked.exit_code == 0
    assert run("generate", tmp_path / "baked", text).stdout == adapted
    again = run("generate", tmp_path / "baked", text, "--adapter", module_folders[0])
    assert again.exit_code == 0
    assert again.stderr.count("Warning: module-0: baked into this bundle already") == 1
    assert re.search(r"^baked in +module-0$", run("inspect", tmp_path / "baked").stdout, re.MULTILINE)


def test_evaluate(run: Run, bundle: Path, tmp_path: Path) -> None:
    texts = ["w10 w11", "w20 w21 w22", "été 数据"]
    answers = run("generate", bundle, *texts).stdout.splitlines()
    outputs = [answers[0].upper() + ".", "w3", answers[2]]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"input": i, "output": o}) + "\n" for i, o in zip(texts, outputs, strict=True)))
    predictions = tmp_path / "predictions.jsonl"
    result = run("evaluate", bundle, data, "--predictions", predictions)
    assert result.stdout.splitlines() == [
        "exact match: 1 of 3, 33.3 %",
        "normalized match (without capitals, full stops and outer spaces): 2 of 3, 66.7 %",
    ]
    rows = [json.loads(row) for row in predictions.read_text(encoding="utf-8").splitlines()]
    assert [(row["exact"], row["normalized"]) for row in rows] == [(False, True), (False, False), (True, True)]
    assert [row["prediction"] for row in rows] == answers
    record = json.loads(run("evaluate", bundle, data, "--json", "--limit", 2).stdout)
    assert record == {
        "count": 2,
        "exact_matches": 0,
        "exact_match_percent": 0,
        "normalized_matches": 1,
        "normalized_match_percent": 50,
    }
    rest = json.loads(run("evaluate", bundle, data, "--json", "--skip", 2).stdout)
    assert (rest["count"], rest["exact_match_percent"], rest["normalized_match_percent"]) == (1, 100, 100)


def test_inspect_the_four_kinds(run: Run, checkpoint: Path, bundle: Path, module_folders: list[Path]) -> None:
    facts = {name: json.loads(run("inspect", path, "--json").stdout) for name, path in
             (("checkpoint", checkpoint), ("bundle", bundle), ("module", module_folders[0]))}  # fmt: skip
    assert {name: fact["kind"] for name, fact in facts.items()} == {name: name for name in facts}
    assert facts["checkpoint"]["d_model"] == 32
    assert facts["bundle"]["slots"] == "12 (q,v)"
    assert (facts["module"]["rank"], facts["module"]["scale"]) == ("4", "2")
    assert "all files match their digests" in run("inspect", bundle, "--check").stdout


def test_inspect_something_else(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "no bundle (manifest.json), adapter or module" in fails("inspect", tmp_path)


def test_numbers_of_a_wide_table_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    options.print_table(["name", *(f"value {i}, ms" for i in range(20))], [["[x] ü", *(["12345.678"] * 20)]])
    lines = capsys.readouterr().out.splitlines()
    assert any("[x] ü" in line and line.count("12345.678") == 20 for line in lines)
    assert len({len(line) for line in lines}) == 1


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    options.print_table(["name", "value"], [])
    assert "value" in capsys.readouterr().out
