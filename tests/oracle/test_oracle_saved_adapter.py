"""A saved adapter, loaded by peft: the same logits, every key in its place, every layer patched and no other."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from oracle import (
    Batch,
    all_kinds,
    assert_same,
    lora_layers,
    merged,
    oracle_model,
    oracle_modules,
    oracle_result,
    our_result,
    random_batch,
)
from peft import PeftModel

from edge_lorahub import Adapter, Model, Modules, Settings, adapt, load, load_adapter
from edge_lorahub.composition.adapter import from_pairs
from edge_lorahub.composition.pairs import compose_pairs
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import write_checkpoint, write_module

pytestmark = pytest.mark.oracle

SIZES = ("tiny", "tiny-t5")
# Ranks, scales and layers all differ, so that one saved adapter has several ranks.
MODULES = (
    {"rank": 4, "alpha": 8, "kinds": ("q", "v")},
    {"rank": 2, "alpha": 3, "kinds": ("q", "k", "o", "wo")},
    {"rank": 8, "alpha": 8, "kinds": ("v", "wo")},
)
WEIGHTS = np.array([0.9, -1.3, 0.6])


class Case:
    """A checkpoint, its bundle and modules."""

    def __init__(self, home: Path, size: str) -> None:
        self.checkpoint = write_checkpoint(home / size, size)
        export(self.checkpoint, home / "bundle", slots=all_kinds(size))
        self.ours: Model = load(home / "bundle", threads=1)
        self.folders = [
            write_module(home / f"module-{i}", size, seed=i, std=0.1, **settings) for i, settings in enumerate(MODULES)
        ]
        self.batch: Batch = random_batch(128)

    def compose(self, composition: str, weights: np.ndarray) -> Adapter:
        pairs = compose_pairs(list(Modules.load(self.folders)), weights, composition)
        return from_pairs(pairs, self.ours.manifest, "composed")

    def check(self, adapter: Adapter, out: Path, *, visible: bool = True) -> None:
        """Saves, loads with peft, and compares with our own model with that adapter."""
        adapter.save(out)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = PeftModel.from_pretrained(oracle_model(self.checkpoint), out).eval()
            loaded = model.load_adapter(out, "again")
        assert not loaded.unexpected_keys
        assert not [key for key in loaded.missing_keys if "lora_" in key]
        ranks = {name: layer.r["default"] for name, layer in lora_layers(model).items()}
        assert ranks == {name: len(lora.a) for name, lora in adapter.pairs.items()}
        truth = oracle_result(model, self.batch)
        slots = self.ours.manifest.slots
        plain = our_result(self.ours, plain_inputs(slots), self.batch)
        ours = our_result(self.ours, adapter.inputs(self.ours.manifest), self.batch)
        assert_same(ours, truth, other_than=plain if visible else None)
        read_back = load_adapter(out, self.ours.manifest)
        assert_same(our_result(self.ours, read_back.inputs(self.ours.manifest), self.batch), truth)


@pytest.fixture(scope="module", params=SIZES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("composition", ["exact", "paper"])
def test_composed(case: Case, composition: str, tmp_path: Path) -> None:
    adapter = case.compose(composition, WEIGHTS)
    assert len({len(lora.a) for lora in adapter.pairs.values()}) > 2
    case.check(adapter, tmp_path / "adapter")


def test_exact_is_also_what_peft_makes_of_the_modules(case: Case, tmp_path: Path) -> None:
    """Not by way of our files alone: peft's own deltas of the modules, summed."""
    case.compose("exact", WEIGHTS).save(tmp_path / "adapter")
    saved = PeftModel.from_pretrained(oracle_model(case.checkpoint), tmp_path / "adapter").eval()
    modules = oracle_modules(case.checkpoint, case.folders)
    with merged(modules, dict(zip([f.name for f in case.folders], WEIGHTS.tolist(), strict=True))):
        truth = oracle_result(modules, case.batch)
    assert oracle_result(saved, case.batch).difference(truth) <= 1e-5


@pytest.mark.filterwarnings("ignore:.*all of its B are zero")
@pytest.mark.parametrize("composition", ["exact", "paper"])
def test_zero_weights_are_the_plain_model(case: Case, composition: str, tmp_path: Path) -> None:
    adapter = case.compose(composition, np.zeros(3))
    case.check(adapter, tmp_path / "adapter", visible=False)
    truth = oracle_result(oracle_model(case.checkpoint), case.batch)
    assert_same(our_result(case.ours, adapter.inputs(case.ours.manifest), case.batch), truth)


@pytest.mark.parametrize("weights", [(0.0, 1.0, 0.0), (0.9, 0.0, 0.6)])
def test_a_module_of_weight_zero_leaves_no_trace(case: Case, weights: tuple[float, ...], tmp_path: Path) -> None:
    """Layers that only that module has are not in the adapter."""
    adapter = case.compose("exact", np.array(weights))
    assert len(adapter.pairs) < len(case.compose("exact", WEIGHTS).pairs)
    case.check(adapter, tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore:rank . loses")
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_truncated(case: Case, rank: int, tmp_path: Path) -> None:
    whole = case.compose("exact", WEIGHTS)
    adapter, error = whole.truncated(rank)
    assert 0 < error < 1
    case.check(adapter, tmp_path / "adapter")


def test_an_adapted_one(case: Case, tmp_path: Path) -> None:
    """The whole chain: search, save, peft."""
    settings = Settings(budget=12, regularization=0.0)
    found = adapt(case.ours, Modules.load(case.folders), case.batch.examples, settings)
    assert found.loss_after < found.loss_before
    case.check(found.adapter, tmp_path / "adapter")
    model = PeftModel.from_pretrained(oracle_model(case.checkpoint), tmp_path / "adapter").eval()
    # the mean over examples of each one's mean: a batch of one example each
    losses = []
    for example in range(5):
        rows = [tensor[example : example + 1] for tensor in (case.batch.ids, case.batch.mask, case.batch.labels)]
        losses.append(oracle_result(model, Batch([], *rows)).loss)
    assert found.loss_after == pytest.approx(np.mean(losses), rel=1e-5)
