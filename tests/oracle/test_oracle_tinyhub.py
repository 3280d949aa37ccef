"""The embedded hub's accuracies: the runtime's against torch + peft's, on the same weights w and inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from oracle import merged, oracle_modules

from edge_lorahub import Example, Modules, load
from edge_lorahub.bench.quality import HELD_OUT, MOST_NEW_TOKENS, Trial
from edge_lorahub.export import export
from edge_lorahub.tinyhub import TEST_TASKS, examples, relevant_modules
from edge_lorahub.tinyhub.hub import BASE, module_folders

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("kind", ["clean", "entangled"])
def test_accuracies_on_the_same_weights(kind: str, tmp_path: Path) -> None:
    export(BASE, tmp_path / "bundle")
    runtime = load(tmp_path / "bundle", threads=2)
    modules = Modules.load(module_folders(kind))
    peft = oracle_modules(BASE, module_folders(kind))
    rng = np.random.default_rng(0)
    found = []
    for unseen in TEST_TASKS[:8]:
        relevant = relevant_modules(unseen, kind)
        size = 1.0 if kind == "clean" else 1 / len(relevant)
        weights = 0.05 * rng.standard_normal(len(modules)) + [size * (name in relevant) for name in modules.names]
        held_out = [Example(*pair) for pair in examples(unseen.task, HELD_OUT, 9)]
        ids, mask = runtime.tokens.pad(runtime.tokens.encode([e.input for e in held_out], 2048))
        with merged(peft, dict(zip(modules.names, weights, strict=True))), torch.no_grad():
            answers = peft.generate(
                input_ids=torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                max_new_tokens=MOST_NEW_TOKENS,
                do_sample=False,
                num_beams=1,
            ).numpy()
        texts = runtime.tokens.decode(list(answers))
        expected = 100 * sum(t == e.output for t, e in zip(texts, held_out, strict=True)) / HELD_OUT
        ours = Trial(runtime, modules, held_out).accuracy(weights, "exact")
        print(f"[measured] {unseen.name}: {ours} and {expected}")
        assert abs(ours - expected) <= 0.5, unseen.name
        found.append(expected)
    if kind == "clean":
        assert max(found) > 10, "the weights must make something right, or there is nothing to compare"
