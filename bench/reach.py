"""How soon the default search is as good as the released code after its whole budget: processes, from their start.

The weights are random, so that only losses count. The released code's loss is that of the weights it ends with, by our
evaluator in fp32 and paper composition, whose losses are the released code's to 1e-6 (`bench peers` checks that first).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Example, Modules, Settings, load
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.learning.objective import mean_loss

from .adaptation_time import run_measured
from .evaluators import evaluator
from .report import Row

Float64 = NDArray[np.float64]

# What the released code does, and the weights that it ends with, as the last line of its output.
REFERENCE = """
import json, sys, torch
from lorahub.algorithm import lorahub_learning
checkpoint, examples, threads, budget, *modules = sys.argv[1:]
torch.set_num_threads(int(threads))
rows = [json.loads(line) for line in open(examples, encoding="utf-8")]
weights, *_ = lorahub_learning(
    modules, [r["input"] for r in rows], [r["output"] for r in rows], int(budget), checkpoint
)
print()
print(json.dumps([float(w) for w in weights]))
"""
# What `adapt` does, up to a number of candidates, and then with the best so far.
_ADAPT = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
bundle, examples, threads, count, out, *modules = sys.argv[1:]
from edge_lorahub import Modules, adapt, load, read_examples
from edge_lorahub.composition.adapter import from_pairs
from edge_lorahub.composition.pairs import compose_pairs
class Enough(Exception):
    pass
seen = []
def on_candidate(candidate):
    seen.append(candidate)
    if len(seen) == int(count):
        raise Enough
loaded = Modules.load(modules)
model = load(bundle, threads=int(threads))
try:
    adapt(model, loaded, read_examples(examples), on_candidate=on_candidate)
except Enough:
    pass
manifest = model.manifest
del model
best = min(seen, key=lambda candidate: candidate.loss).weights
from_pairs(compose_pairs(list(loaded), best, "exact"), manifest, "adapted").save(Path(out), force=True)
"""


def reach(
    bundles: dict[str, Path], checkpoint: Path, examples: Path, folders: Sequence[Path], task: Sequence[Example],
    budget: int, threads: int, rounds: int, work: Path,
) -> list[Row]:  # fmt: skip
    """A row for the released code and for each precision; everyone takes turns in every round."""
    modules = Modules.load(folders)
    names = [str(folder) for folder in folders]
    reference = ["-c", REFERENCE, str(checkpoint), str(examples), str(threads), str(budget), *names]
    seconds: dict[str, list[float]] = {"lorahub 0.1.0": []}
    taken, _, output = run_measured(*reference)
    seconds["lorahub 0.1.0"].append(taken)
    weights = np.array(json.loads(output.strip().splitlines()[-1]))
    losses = {composition: _losses(bundles["fp32"], modules, task, composition, threads) for composition in _COMPOSED}
    target = losses["paper"](weights)
    commands: dict[str, list[str]] = {}
    found: dict[str, tuple[int, float]] = {}
    for precision, bundle in bundles.items():
        count, loss = _first(bundle, modules, task, threads, losses["exact"], target)
        found[precision] = count, loss
        # a name of its own: an adapter without a record is not overwritten
        commands[precision] = [
            "-c", _ADAPT, str(bundle), str(examples), str(threads), str(count), "{out}", *names,
        ]  # fmt: skip
        seconds[precision] = []
    for turn in range(rounds):
        if turn:
            seconds["lorahub 0.1.0"].append(run_measured(*reference)[0])
        for precision, command in commands.items():
            out = work / f"until.{precision}.{turn}"
            taken, _, _ = run_measured(*(str(out) if part == "{out}" else part for part in command))
            seconds[precision].append(taken)
    slow = float(np.median(seconds["lorahub 0.1.0"]))
    rows: list[Row] = []
    for who, times in seconds.items():
        count, loss = found.get(who, (budget, target))
        median = float(np.median(times))
        rows.append(
            {
                "who": who if who not in bundles else f"edge-lorahub {who}, the default",
                "candidates": count,
                "loss": round(loss, 4),
                "median, s": round(median, 2),
                # random weights have no tasks to learn, and paper composition's losses are others than exact's
                "reference / it": round(slow / median, 2) if loss <= target else "not reached",
            }
        )
    return rows


_COMPOSED = ("paper", "exact")


def _losses(
    bundle: Path, modules: Modules, task: Sequence[Example], composition: str, threads: int
) -> Callable[[Float64], float]:
    """The mean loss of weights (N,) on the examples, without regularization."""
    evaluate = evaluator(bundle, modules, task, composition, threads, mean_loss)
    return lambda weights: float(evaluate.losses(weights[None])[0])


def _first(
    bundle: Path, modules: Modules, task: Sequence[Example], threads: int, loss_of: Callable[[Float64], float],
    target: float,
) -> tuple[int, float]:  # fmt: skip
    """After how many candidates the best so far has at most the target's loss, in fp32, and that loss.

    All of them, and the loss of the last, where it does not come to that.
    """
    settings = Settings()
    model = load(bundle, threads=threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = learn(model, modules, task, settings).trace
    best, loss = np.inf, np.inf
    for count, candidate in enumerate(trace, 1):
        if candidate.loss < best:
            best = candidate.loss
            if (loss := loss_of(candidate.weights)) <= target:
                return count, loss
    return len(trace), loss
