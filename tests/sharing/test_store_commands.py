"""The local store on the command line."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
from click.testing import Result

from edge_lorahub import Hub
from edge_lorahub.hub import place
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]
Fails = Callable[..., str]


def test_a_store_that_is_not_there(
    tmp_path: Path, run: Run, fails: Fails, bundle: Path, examples_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names one may have misspelled it; the user's own is empty at first."""
    store = tmp_path / "nothing"
    adapt = ("adapt", bundle, examples_file, "--hub", "--out", tmp_path / "out")
    hub = [
        ("hub", *words)
        for words in (("list",), ("verify",), ("show", "x"), ("remove", "x"), ("publish", "x", "--to", "y"))
    ]
    for command in (*hub, adapt):
        monkeypatch.delenv("EDGE_LORAHUB_HUB", raising=False)
        assert f"{store}: no store there; `edge-lorahub hub add` makes one" in fails(*command, "--store", store)
        monkeypatch.setenv("EDGE_LORAHUB_HUB", str(store))
        assert f"{store}: no store there" in fails(*command)
    monkeypatch.delenv("EDGE_LORAHUB_HUB")
    monkeypatch.setattr(place, "user_data_path", lambda name: tmp_path / "data")
    assert run("hub", "list").stdout == f"no modules in {tmp_path / 'data' / 'hub'}\n"
    assert json.loads(run("hub", "list", "--json").stdout) == []
    assert run("hub", "verify").exit_code == 0
    assert "x: not in the store" in fails("hub", "show", "x")
    assert "no store there" in fails(*adapt)
    assert not store.exists()
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").write_text("x")
    assert "a file, where the store's folder was expected" in fails("hub", "list", "--store", tmp_path / "file")
    assert "empty text" in fails("hub", "list", "--store", "")


def test_a_name_of_the_store_in_the_place_of_a_folder(
    fails: Fails, bundle: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("EDGE_LORAHUB_HUB", str(tmp_path / "store"))
    uses = (
        ("adapt", bundle, examples_file, "-m", "one", "--out", "out"),
        ("generate", bundle, "w3", "--adapter", "one"),
        ("inspect", "one"),
    )
    for arguments in uses:
        assert "local store has" not in fails(*arguments)
    assert not (tmp_path / "store").exists()
    Hub().add(module_folders[:1], name="one")
    for arguments in uses:
        assert "the local store has a module of that name: `edge-lorahub hub show one` says" in fails(*arguments)
    assert "local store has" not in fails("generate", bundle, "w3", "--adapter", "two")
    (tmp_path / "store" / "index.sqlite3").write_text("damaged")
    assert "local store" not in fails("inspect", "one"), "of a store that was not asked for nothing is said"


def test_the_command_line(run: Run, fails: Fails, module_folders: list[Path], bundle: Path, tmp_path: Path) -> None:
    at = ("--store", tmp_path / "store")
    added = run("hub", "add", "--modules", module_folders[0].parent, "--tag", "mine", *at)
    assert [line.rpartition(" ")[0] for line in added.stdout.splitlines()] == [
        f"added: module-{number}" for number in range(4)
    ]
    again = run("hub", "add", module_folders[0], "--json", *at)
    assert json.loads(again.stdout)[0]["new"] is False
    run("hub", "add", write_module(tmp_path / "large", "t5-small", seed=1, rank=2), *at)
    listed = run("hub", "list", "--fits", bundle, *at)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["name", *(f"module-{n}" for n in range(4))]
    assert listed.stderr.startswith("does not fit: large: ")
    assert json.loads(run("hub", "list", "--tag", "mine", "--json", *at).stdout)[0]["name"] == "module-0"
    run("hub", "add", write_module(tmp_path / "nameless", "tiny", seed=5, rank=2, base_model_name_or_path=""), *at)
    of_base = run("hub", "list", "--base", "me/Tiny", *at)
    assert [line.split()[0] for line in of_base.stdout.splitlines()][1:] == [f"module-{n}" for n in range(4)]
    assert of_base.stderr == "not listed: 1 module that names no base model; --fits BUNDLE tells more\n"
    run("hub", "remove", "nameless", *at)
    assert run("hub", "list", "--base", "other", *at).stdout.startswith("no modules of these in")
    shown = json.loads(run("hub", "show", "module-2", "--json", *at).stdout)
    assert (shown["ranks"], shown["tags"]) == (["4"], ["mine"])
    assert f"folder       {shown['folder']}" in run("hub", "show", "module-2", *at).stdout
    assert run("hub", "verify", *at).stdout == "5 modules: all files match their digests\n"
    assert "module-7: not in the store" in fails("hub", "remove", "module-0", "module-7", *at)
    assert run("hub", "remove", "module-0", "large", *at).stdout == "removed: module-0\nremoved: large\n"
    assert json.loads(run("hub", "remove", "module-1", "--json", *at).stdout) == {"removed": ["module-1"]}
    published = run("hub", "publish", "module-3", "--to", tmp_path / "published", "--json", *at)
    assert json.loads(published.stdout) == {"name": "module-3", "published": str(tmp_path / "published")}
    (Path(shown["folder"]) / "adapter_config.json").write_text("{}")
    ended = run("hub", "verify", *at)
    assert ended.exit_code == 2
    assert ended.stderr.splitlines()[0] == "module-2: its adapter_config.json is not what was added"
    assert run("hub", "add", module_folders[2], *at).stdout.startswith("repaired: module-2 (")
    assert run("hub", "add", module_folders[2], *at).stdout.startswith("there already: module-2 (")
    shutil.rmtree(shown["folder"])
    mended = json.loads(run("hub", "add", module_folders[2], "--json", *at).stdout)[0]
    assert (mended["new"], mended["repaired"]) == (False, True)
    assert run("hub", "verify", *at).exit_code == 0
    two = run("hub", "add", module_folders[0], tmp_path, *at)
    assert two.exit_code == 2
    assert two.stdout.startswith("added: module-0")
    assert two.stderr.splitlines()[-1] == "Error: 1 of 2 modules not added, for the reasons above"


def test_adapt_takes_modules_of_the_store(
    run: Run, fails: Fails, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    """The same weights as with the folders; and what was learned is a module like any other."""
    at = ("--hub", "--store", tmp_path / "store")
    hub = Hub(tmp_path / "store")
    hub.add(module_folders[:3], tags="few")
    hub.add(write_module(tmp_path / "large", "t5-small", seed=1, rank=2))
    hub.add(write_module(tmp_path / "other", "tiny", seed=1, rank=2, base_model_name_or_path="me/other"))
    adapt = ("adapt", bundle, examples_file, "--budget", 12, "--no-answers", "--json")
    plain = json.loads(run(*adapt, "-m", module_folders[0], "-m", module_folders[1], "-m", module_folders[2],
                           "--out", tmp_path / "plain").stdout)  # fmt: skip
    ended = run(*adapt, *at, "--out", tmp_path / "out")
    stored = json.loads(ended.stdout)
    assert (stored["weights"], stored["trace"]) == (plain["weights"], plain["trace"])
    assert ended.stderr.startswith("Warning: left out of 5 modules in ")
    hub.tag(["other"], "chosen")
    with_warning = run(*adapt, *at, "--tag", "chosen", "--out", tmp_path / "chosen")
    assert [*json.loads(with_warning.stdout)["weights"]] == ["other"]
    assert "Warning: trained on 'me/other', says adapter_config.json, but the bundle is of 'tiny'" in (
        with_warning.stderr
    )
    mixed = json.loads(run(*adapt, "-m", module_folders[3], *at, "--tag", "few", "--count", 2, "--seed", 1,
                           "--out", tmp_path / "mixed").stdout)  # fmt: skip
    assert len(mixed["weights"]) == 3
    assert {*mixed["weights"]} - {"module-3"} == {*hub.modules(tags="few", count=2, seed=1).names}
    nowhere = ("--out", tmp_path / "x")
    assert "--tag: of the local store's modules; give --hub too" in fails(*adapt, "--tag", "few", *nowhere)
    assert "no module with the tags no" in fails(*adapt, *at, "--tag", "no", *nowhere)
    assert "two modules are called 'module-0'" in fails(*adapt, "-m", module_folders[0], *at, *nowhere)
    assert run("hub", "add", tmp_path / "out", "--name", "learned", *at[1:]).exit_code == 0
    parts = json.loads(run("hub", "show", "learned", "--json", *at[1:]).stdout)["parts"]
    assert {part["name"]: part["weight"] for part in parts} == {n: w for n, w in stored["weights"].items() if w}
    assert [part["stored_as"] for part in parts] == [[part["name"]] for part in parts]
    composed = json.loads(run(*adapt, *at, "--out", tmp_path / "next").stdout)
    assert "learned" in composed["weights"]
    (hub.get("module-1").folder / "adapter_config.json").write_text("{}")
    line = fails(*adapt, *at, "--tag", "few", *nowhere)
    assert "module-1: not the module that was added" in line
    assert not (tmp_path / "x").exists()


def test_a_list_needs_no_arrays(stored: Hub) -> None:
    code = "import sys; from edge_lorahub.cli.main import run; sys.argv[0] = 'edge-lorahub'\ntry: run()\nfinally: " \
        "print([name for name in ('numpy', 'onnxruntime', 'safetensors', 'rich') if name in sys.modules])"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, "hub", "list", "--store", str(stored.path)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_folders_of_modules_within_a_folder_are_named(
    run: Run, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    mods, at = tmp_path / "mods", ("--store", tmp_path / "store")
    for number in range(7):
        shutil.copytree(module_folders[0], mods / f"kind-{number}" / f"one-{number}")
    line = fails("hub", "add", "--modules", mods, *at)
    assert (
        f"no module in it (no folder with adapter_config.json, and no .onnx_adapter file); there are modules in "
        f"{mods / 'kind-0'}, " in line
    )
    assert "kind-4 and 2 more: name such a folder with --modules" in line
    shutil.copytree(module_folders[0], mods / "one")
    shutil.copytree(module_folders[0], mods / "one" / "checkpoint-9")
    added = run("hub", "add", "--modules", mods, *at)
    assert added.stdout.startswith("added: one (")
    assert "kind-4 and 2 more lie a folder deeper, and are not taken" in added.stderr
    assert "one/" not in added.stderr


def test_folders_that_are_hidden_or_may_not_be_read_are_passed_over(
    run: Run, module_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's lost+found: what a test that runs as root cannot make is raised by hand."""
    mods, is_file = tmp_path / "mods", Path.is_file

    def denied(path: Path, **options: bool) -> bool:
        if "lost+found" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path, **options)

    shutil.copytree(module_folders[0], mods / "one")
    (mods / "lost+found").mkdir()
    shutil.copytree(module_folders[0], mods / ".trash" / "two")
    monkeypatch.setattr(Path, "is_file", denied)
    added = run("hub", "add", "--modules", mods, "--store", tmp_path / "store")
    assert added.exit_code == 0, added.output
    assert added.stdout.startswith("added: one (")
    assert "deeper" not in added.stderr
