"""The small modules that lie beside the checkout, each after a situation that users met, with transformers' logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scores import forced

from edge_lorahub import Model, Modules, load, load_adapter
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.runtime.binding import Runner

NAMES = (
    "adapter-configs/plain", "adapter-configs/target-null", "adapter-prefixes/ddp", "adapter-prefixes/torch-compile",
)  # fmt: skip


@pytest.fixture(scope="module")
def cases(shared: Path) -> Path:
    if not (shared / "cases").is_dir():
        pytest.skip(f"no cases: {shared / 'cases'} is not there")
    return shared / "cases"


@pytest.fixture(scope="module")
def ours(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle = tmp_path_factory.mktemp("bundle") / "flan"
    export(cases / "tied-by-transformers-5" / "flan", bundle)
    return load(bundle, threads=1)


def test_the_logits_are_those_of_peft(cases: Path, ours: Model) -> None:
    """All of them hold the same LoRA."""
    truth = np.load(cases / "adapter-configs" / "plain-truth.npz")
    ids, mask, labels = (truth[name].astype(np.int64) for name in ("ids", "mask", "labels"))

    def difference(inputs: LoraInputs) -> float:
        logits = forced(Runner(ours, "score", inputs), ids, mask, np.maximum(labels, 0))
        return float(np.abs(logits - truth["logits"]).max() / np.abs(truth["logits"]).max())

    for name in NAMES:
        assert difference(load_adapter(cases / name, ours.manifest).inputs(ours.manifest)) < 1e-5, name
    assert difference(plain_inputs(ours.manifest.slots)) > 0.1


def test_they_are_known_as_copies(cases: Path) -> None:
    with pytest.warns(match="under several names: plain, target-null, ddp, torch-compile"):
        modules = Modules.load([cases / name for name in NAMES])
    assert len({module.sha256 for module in modules}) == 1
