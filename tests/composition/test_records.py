"""An adapter's record: what is written is read back, and what is wrong with one is named by file and field."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from schemas import validator

from edge_lorahub import Adaptation, Example, Modules, Settings, adapt, load, load_adapter
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.composition.record import SettingsInForce
from edge_lorahub.composition.record_file import SIDECAR
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError, SettingsError


@pytest.fixture(scope="module")
def found(bundle: Path, module_folders: list[Path], examples: list[Example]) -> Adaptation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        return adapt(load(bundle, threads=1), Modules.load(module_folders), examples, Settings(budget=8))


@pytest.fixture(scope="module")
def adapter(found: Adaptation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "learned"
    found.adapter.save(out)
    return out


@pytest.fixture
def changed(adapter: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Copies the adapter with its record changed."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        out = Path(shutil.copytree(adapter, tmp_path / "changed"))
        record = json.loads((out / SIDECAR).read_text(encoding="utf-8"))
        change(record)
        (out / SIDECAR).write_text(json.dumps(record), encoding="utf-8")
        return out

    return make


def put(place: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Puts a value where a path as `trace.3.loss` leads."""

    def change(record: dict[str, Any]) -> None:
        *parents, last = place.split(".")
        inner: Any = record
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        inner[int(last) if isinstance(inner, list) else last] = value

    return change


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.pop(name)


def test_the_settings_of_a_record_are_those_of_a_search() -> None:
    assert [field.name for field in fields(SettingsInForce)] == [field.name for field in fields(Settings)]


SEARCHES: dict[str, dict[str, Any]] = {
    "surrogate": {"budget": 8},
    "budget is chosen": {"optimizer": "reference"},
    "racing": {"budget": 12, "surrogate": False},
    "paper composition": {"budget": 4, "composition": "paper", "bound": 1},
    "no limits": {
        "budget": 2,
        "max_input_tokens": sys.maxsize,
        "batch_tokens": sys.maxsize,
        "step_size": 1,
        "bound": 1e30,
    },
}


@pytest.mark.parametrize("settings", SEARCHES.values(), ids=SEARCHES)
def test_what_is_written_is_read_back_and_follows_the_schema(
    settings: dict[str, Any], bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        result = adapt(bundle, module_folders, examples, threads=1, **settings)
    result.adapter.save(tmp_path / "out")
    record = json.loads((tmp_path / "out" / SIDECAR).read_text(encoding="utf-8"))
    validator("record.schema.json").validate(record)
    assert load_adapter(tmp_path / "out").record == result.record
    del record["settings"]["seed"]
    with pytest.raises(jsonschema.ValidationError, match="'seed' is a required property"):
        validator("record.schema.json").validate(record)


def test_a_warm_start_and_a_truncated_adapter_follow_the_schema(
    found: Adaptation, bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        again = adapt(
            bundle, module_folders, examples, threads=1, budget=6, start=found.weights, evaluations=found.evaluations
        )
        smaller, _ = again.adapter.truncated(1)
    smaller.save(tmp_path / "out")
    record = json.loads((tmp_path / "out" / SIDECAR).read_text(encoding="utf-8"))
    validator("record.schema.json").validate(record)
    assert record["start"] == found.weights
    assert found.evaluations is not None
    assert record["evaluations_sha256"] == found.evaluations.digest
    assert record["truncation"]["rank"] == 1
    assert load_adapter(tmp_path / "out").record == smaller.record


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a text for a number": (put("settings.bound", "x"), "settings.bound is 'x', where a number was expected"),
    "a number for a text": (put("made_by", 3), "made_by is 3, where a text was expected"),
    "true for a number": (put("threads", True), "threads is true, where a whole number from 0 was expected"),
    "a number for true": (put("converged", 1), "converged is 1, where true or false was expected"),
    "a number below 0": (put("budget", -1), "budget is -1, where a whole number from 0 was expected"),
    "a fraction": (put("examples.count", 5.0), "examples.count is 5.0, where a whole number from 0 was expected"),
    "a huge number": (put("settings.seed", 10**400), "settings.seed is 1000"),
    "a huge weight": (put("weights.module-0", 10**400), "weights.module-0 is 1000"),
    "no number": (put("weights.module-0", float("nan")), "weights.module-0 is nan, where a number was expected"),
    "infinite": (put("trace.2.weights.1", float("inf")), "trace[2].weights[1] is inf, where a number was expected"),
    "null": (put("loss", None), "loss is null, where an object was expected"),
    "a list for an object": (put("weights", []), "weights is a list, where an object was expected"),
    "an object for a list": (put("modules", {}), "modules is an object, where a list was expected"),
    "a list of others": (put("untried", [[]]), "untried[0] is a list, where a text was expected"),
    "no digest": (put("bundle.files", {"weights.bin": "x"}), "bundle.files.weights.bin is 'x', where a digest"),
    "a digest of escapes": (put("modules.1.sha256", "\x1b[2J" * 16), "modules[1].sha256 is '\\x1b[2J"),
    "a start of others": (put("start", {"x": 1.0}), "start has 'x', which modules has not"),
    "a checked example that is none": (put("explanation.checked", [99]), "explanation.checked has 99, but left_out_l"),
    "contributions of others": (
        put("explanation.contributions", {"x": {"loss_without_it": 1, "low": 0, "high": 2}}),
        "explanation.contributions has 'x', which modules has not",
    ),
    "a negative width": (put("settings.bound", -1), "settings.bound is -1.0, where a number from 0 was expected"),
    "a field too few": (drop("trace"), "trace is missing"),
    "no digest of the matrices": (drop("adapter_sha256"), "adapter_sha256 is missing"),
    "another composition": (put("settings.composition", "sum"), "settings.composition is 'sum'"),
    "another precision": (put("precision", "int2"), "precision is 'int2', where fp32 or int8 was expected"),
    "another count": (put("examples.count", 4), "examples.count is 4, but each has 5"),
    "two modules of a name": (put("modules.0.name", "module-1"), "modules has two of the same name"),
    "weights of others": (put("weights", {"x": 1.0}), "weights are of other modules"),
    "a short candidate": (put("trace.1.weights", [0.5]), "trace[1].weights has 1 numbers for 4 modules"),
    "a share of more than all": (put("spared", 2.0), "spared is 2.0"),
    "a nested setting": (put("bundle.model.heads", {}), "bundle.model.heads is an object, where"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(
    changed: Callable[..., Path], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    folder = changed(change)
    with pytest.raises(ModuleFileError) as caught:
        load_adapter(folder)
    line = str(caught.value)
    assert line.startswith(f"{folder / SIDECAR}: {words}")
    assert line.endswith("; copy the adapter again, or remove edge_lorahub.json to use it as any other LoRA module")
    assert len(line.splitlines()) == 1
    (folder / SIDECAR).unlink()
    assert load_adapter(folder).record is None


@pytest.mark.parametrize(("place", "shown"), [("notes", "notes"), ("loss.median", "loss.median"),
                                              ("trace.2.\x1b[2J", "trace[2].")])  # fmt: skip
def test_a_field_that_is_unknown_is_refused(
    changed: Callable[..., Path], bundle: Path, fails: Callable[..., str], place: str, shown: str
) -> None:
    """A newer program may have written it, and what it says may change the answers."""
    line = fails("generate", bundle, "w3", "--adapter", changed(put(place, {})))
    assert f"{SIDECAR}: {shown}" in line
    assert line.rstrip().endswith("is a field that this program does not know; update edge-lorahub")


def test_what_a_record_does_not_say_of_a_bundle_is_not_compared(
    changed: Callable[..., Path], bundle: Path, recwarn: pytest.WarningsRecorder
) -> None:
    def forget(record: dict[str, Any]) -> None:
        record["bundle"] = {"files": {}, "model": {}}

    assert load_adapter(changed(forget), read_manifest(bundle)).record is not None
    assert not recwarn.list


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (2, "format version 2, but this program reads 1; update edge-lorahub"),
        (0, "format_version is 0, where 1 was expected"),
        (True, "format_version is True, where 1 was expected"),
        ("1", "format_version is '1', where 1 was expected"),
        ([], "format_version is [], where 1 was expected"),
    ],
)
def test_another_version_is_refused(
    changed: Callable[..., Path], bundle: Path, fails: Callable[..., str], version: object, words: str
) -> None:
    folder = changed(put("format_version", version))
    for command in (("generate", bundle, "w3", "--adapter", folder), ("inspect", folder)):
        assert words in fails(*command)


def test_a_record_without_a_version(
    changed: Callable[..., Path], bundle: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path,
    run: Callable[..., Result], fails: Callable[..., str],
) -> None:  # fmt: skip
    """The adapter is used as any LoRA module, and says so; there are no weights to start from."""
    folder = changed(drop("format_version"))
    result = run("generate", bundle, "w3", "--adapter", folder)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        f"Warning: {folder / SIDECAR}: a record without a format version, as edge-lorahub 0.1.0 wrote them; it is not "
        "read, and the adapter is used as any other LoRA module"
    ]
    assert "edge_lorahub.json has no format version, and is not read" in run("inspect", folder).stdout
    modules = [part for path in module_folders for part in ("--module", path)]
    line = fails("adapt", bundle, examples_file, *modules, "--warm-start", folder, "--out", tmp_path / "out")
    assert "wrote them; adapt again to have weights to start from" in line


def test_the_digest_of_a_search(found: Adaptation) -> None:
    """Threads and folders' names are not part of it, nor what was found; everything else is."""
    inputs = found.record
    same = replace(
        inputs, threads=99, trace=(), modules=tuple(replace(module, folder="elsewhere") for module in inputs.modules)
    )
    assert same.digest == inputs.digest
    others = (
        replace(inputs, short=not inputs.short),
        replace(inputs, settings=replace(inputs.settings, seed=2)),
        replace(inputs, start={"module-0": 0.5}),
        replace(inputs, evaluations_sha256="0" * 64),
        replace(inputs, modules=inputs.modules[::-1]),
    )
    assert len({inputs.digest, *(other.digest for other in others)}) == 6


@pytest.mark.parametrize("field", ["budget", "batch_tokens", "bound", "step_size", "seed"])
def test_a_setting_that_no_record_could_hold_is_refused(field: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{field} must be at most 2\^63 - 1$"):
        Settings(**{field: 10**5000})
