"""Published modules: what the card says is so, nothing of this machine is told, and others' texts stay texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch_files
import yaml
from click.testing import Result
from safetensors.numpy import load_file
from schemas import validator

from edge_lorahub import Hub, Modules, load_adapter
from edge_lorahub.errors import HubError, HubUnreachableError, OutputExistsError, SettingsError
from edge_lorahub.sharing.publishing import is_hub_id, publish
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "store")


@pytest.fixture
def learned(hub: Hub, run: Run, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path) -> Hub:
    """A store with two modules of which one has a license, an adapter of both, and one that has this one as a part."""
    licensed = shutil.copytree(module_folders[0], tmp_path / "licensed")
    (licensed / "README.md").write_bytes(b"---\r\nlicense: mit\r\n---\r\n# mine\r\n")
    hub.add([licensed, module_folders[1]])
    adapt = ("adapt", bundle, examples_file, "--budget", 12, "--no-answers", "--regularization", 0)
    for name, parts in (("first", [licensed, module_folders[1]]), ("second", [tmp_path / "first", module_folders[1]])):
        named = [part for module in parts for part in ("-m", module)]
        assert run(*adapt, *named, "--out", tmp_path / name).exit_code == 0
        hub.add(tmp_path / name, tags=["tagged"])
    return hub


def front(card: str) -> dict[str, object]:
    found = yaml.safe_load(card.split("---")[1])
    assert isinstance(found, dict)
    return found


def test_an_adapter(learned: Hub, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("hub", "publish", "second", "--to", out, "--store", learned.path)
    assert result.stdout == f"published: {out}\n"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "edge_lorahub.json",
    ]  # fmt: skip
    card = (out / "README.md").read_text()
    assert front(card) == {"base_model": "tiny", "library_name": "peft", "pipeline_tag": "text2text-generation",
                           "tags": ["lora", "lorahub", "edge-lorahub", "tagged"]}  # fmt: skip
    entry, weights = learned.get("second"), load_adapter(tmp_path / "second").record.weights
    for name, weight in weights.items():
        assert (f"| `{name}` | {weight:+.4f} |" in card) == bool(weight)
    assert ("`first` is composed itself:" in card) == bool(weights["first"])
    assert f"`{entry.sha256}`" in card
    assert "PeftModel.from_pretrained(base, './out')" in card
    # an adapter as any other, with its record, in which no path is left
    published = load_adapter(out)
    assert published.sha256 == entry.sha256
    assert published.record.weights == weights
    # its lineage, of which nothing needs to be in the store
    (composed,) = published.record.composed
    first = load_adapter(tmp_path / "first")
    assert composed.sha256 == first.sha256
    assert {part.name: part.weight for part in composed.parts} == {n: w for n, w in first.record.weights.items() if w}
    assert first.record.composed is None
    validator("record.schema.json").validate(json.loads((out / "edge_lorahub.json").read_text()))
    everything = "".join(path.read_text(errors="replace") for path in out.iterdir())
    assert str(tmp_path) not in everything
    assert str(tmp_path) in (tmp_path / "second" / "edge_lorahub.json").read_text()
    # published over itself, and from the place where it was published
    assert run("hub", "publish", "second", "--to", out, "--store", learned.path).exit_code == 2
    learned.add(out, name="again")
    with (learned.get("again").folder / "README.md").open() as file:
        assert file.read() == card
    publish(learned, "again", str(out), force=True)
    assert (out / "README.md").read_text().count("## Digests") == 1


def test_licenses(learned: Hub, module_folders: list[Path], tmp_path: Path) -> None:
    publish(learned, "first", str(tmp_path / "unknown"))
    card = (tmp_path / "unknown" / "README.md").read_text()
    assert "license" not in front(card)
    assert "| mit |" in card
    assert "| not known |" in card
    publish(learned, "first", str(tmp_path / "given"), license="apache-2.0")
    assert front((tmp_path / "given" / "README.md").read_text())["license"] == "apache-2.0"
    publish(learned, "licensed", str(tmp_path / "own"))
    assert front((tmp_path / "own" / "README.md").read_text())["license"] == "mit"
    other = shutil.copytree(module_folders[1], tmp_path / "other")
    (other / "README.md").write_text("---\nlicense: mit\n---\n")
    learned.add(other)
    publish(learned, "first", str(tmp_path / "common"))
    assert front((tmp_path / "common" / "README.md").read_text())["license"] == "mit"
    with pytest.raises(SettingsError, match="a license must be one of the Hub's names"):
        publish(learned, "first", str(tmp_path / "x"), license="mit\nx: y")


def test_a_card_of_its_own_is_kept(hub: Hub, module_folders: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(module_folders[0], tmp_path / "mine")
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [x]\n---\n# What I did\n\nMuch.\n")
    hub.add(folder)
    publish(hub, "mine", str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.endswith("# What I did\n\nMuch.\n")
    assert "tags: [x]" not in card
    hub.add(tmp_path / "out")
    publish(hub, "out", str(tmp_path / "twice"))
    assert (tmp_path / "twice" / "README.md").read_text().count("# What I did\n\nMuch.\n") == 1


def test_others_texts_are_no_marks(hub: Hub, tmp_path: Path) -> None:
    base = "me/x`|\n# Title\n<script>"
    hub.add(write_module(tmp_path / "m", "tiny", seed=1, rank=2, base_model_name_or_path=base), name="a*b|c<d>")
    publish(hub, "a*b|c<d>", str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert r"# a\*b\|c\<d\>" in card
    assert not any(line.startswith(("# Title", "<script")) for line in card.splitlines())
    assert "base_model" not in front(card)


def test_a_pickle_becomes_safetensors_and_a_path_its_last_part(hub: Hub, tmp_path: Path) -> None:
    folder = write_module(tmp_path / "m", "tiny", seed=1, rank=2, alpha=6, base_model_name_or_path="/home/me/tiny")
    hub.add(folder, name="plain")
    tensors = load_file(folder / "adapter_model.safetensors")
    torch_files.state_dict(folder / "adapter_model.bin", tensors)
    (folder / "adapter_model.safetensors").unlink()
    hub.add(folder, name="pickled")
    assert len({entry.folder for entry in hub.list()}) == 1  # the same numbers
    hub.remove("plain")
    hub.remove("pickled")
    hub.add(folder, name="pickled")
    (entry,) = hub.list()
    assert (entry.folder / "adapter_model.bin").is_file()
    publish(hub, "pickled", str(tmp_path / "out-pickled"))
    (module,) = Modules.load(tmp_path / "out-pickled")
    assert module.file.name == "adapter_model.safetensors"
    assert module.base_model == "tiny"
    for (layer, lora), (_, wanted) in zip(module.loras(), hub.modules()[0].loras(), strict=True):
        np.testing.assert_array_equal(lora.a, wanted.a, layer)
        np.testing.assert_array_equal(lora.scaled_b(), wanted.scaled_b(), layer)
    assert "/home/me" not in (tmp_path / "out-pickled" / "README.md").read_text()


@dataclass
class Api:
    """A stand-in for the Hub."""

    files: list[str] | None = None
    error: Exception | None = None
    uploaded: dict[str, bytes] = field(default_factory=dict)
    private: bool | None = None
    deleted: list[str] = field(default_factory=list)

    def __call__(self) -> Api:
        return self

    def repo_exists(self, repository: str) -> bool:
        if self.error is not None:
            raise self.error
        return self.files is not None

    def list_repo_files(self, repository: str) -> list[str]:
        return self.files or []

    def create_repo(self, repository: str, *, private: bool | None, exist_ok: bool) -> None:
        self.private = private

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: list[str]
    ) -> None:
        self.deleted = delete_patterns
        self.uploaded = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


def test_to_the_hub(learned: Hub, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    api = Api()
    monkeypatch.setattr("huggingface_hub.HfApi", api)
    at = ("--store", learned.path)
    result = run("hub", "publish", "first", "--to", "me/first", "--private", *at)
    assert result.stdout == "published: https://huggingface.co/me/first\n"
    assert sorted(api.uploaded) == ["README.md", "adapter_config.json", "adapter_model.safetensors",
                                    "edge_lorahub.json"]  # fmt: skip
    assert api.private is True
    assert b"from_pretrained(base, 'me/first')" in api.uploaded["README.md"]
    assert json.loads(api.uploaded["edge_lorahub.json"])["adapter_sha256"] == learned.get("first").sha256
    taken = Api(files=[".gitattributes", "model.bin"])
    monkeypatch.setattr("huggingface_hub.HfApi", taken)
    with pytest.raises(OutputExistsError, match=r"me/first: exists on the Hub already, and has model\.bin"):
        publish(learned, "first", "me/first")
    assert not taken.uploaded
    publish(learned, "first", "me/first", force=True)
    assert taken.uploaded


def test_what_a_commit_leaves_of_an_earlier_one_is_removed(learned: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of other matrices would make the module one that nobody can load."""
    api = Api(files=["edge_lorahub.json", "adapter_model.bin", "README.md", "mine.txt"])
    monkeypatch.setattr("huggingface_hub.HfApi", api)
    publish(learned, "licensed", "me/first", force=True)
    assert sorted(api.deleted) == ["adapter_model.bin", "edge_lorahub.json"]


def test_the_hub_refuses(learned: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = OSError("no")
    forbidden.response = SimpleNamespace(status_code=403)  # type: ignore[attr-defined]
    broken = OSError("no")
    broken.response = SimpleNamespace(status_code=500)  # type: ignore[attr-defined]
    for error, kind, line in (
        (forbidden, HubError, "the Hub does not let you write there; log in"),
        (broken, HubError, "the Hub refused it"),
        (ConnectionError("offline"), HubUnreachableError, "cannot be reached, so nothing was published"),
    ):
        monkeypatch.setattr("huggingface_hub.HfApi", Api(error=error))
        with pytest.raises(kind, match=line):
            publish(learned, "first", "me/first")


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("me/x")
    (tmp_path / "me").mkdir()
    for folder in ("me/x", "./you/x", "x", "/tmp/x", "a/b/c", "", "../x"):
        assert not is_hub_id(folder)
    assert "no store there" in fails("hub", "publish", "x", "--to", "out", "--store", "store")


def test_places_that_are_refused(learned: Hub, fails: Callable[..., str], tmp_path: Path) -> None:
    at = ("--store", learned.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("x")
    assert "exists already" in fails("hub", "publish", "first", "--to", tmp_path / "mine", *at)
    publish(learned, "licensed", str(tmp_path / "module"))
    line = fails("hub", "publish", "licensed", "--to", tmp_path / "module", *at)
    assert "exists already, and it has no edge_lorahub.json" in line
    assert "--force" not in line, "which would refuse"
    line = fails("hub", "publish", "licensed", "--to", tmp_path / "module", "--force", *at)
    assert "a module without edge_lorahub.json, so nothing tells whether this command wrote it" in line
    assert "it has letter" in fails("hub", "publish", "first", "--to", tmp_path / "mine", "--force", *at)
    assert "private is for the Hub" in fails("hub", "publish", "first", "--to", tmp_path / "x", "--private", *at)
    assert "a place is needed" in fails("hub", "publish", "first", "--to", "", *at)
    (learned.get("first").folder / "adapter_config.json").write_text("{}")
    assert "not the module that was added" in fails("hub", "publish", "first", "--to", tmp_path / "x", *at)
    assert not (tmp_path / "x").exists()
