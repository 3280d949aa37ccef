"""The same work by others, in turn and in one run: the released LoraHub, transformers, optimum and CTranslate2.

The reference is `lorahub` 0.1.0 itself, on torch and peft: its loading, its loss and its composition, one
candidate after the other. Everyone gets the same checkpoint, modules, examples, texts and number of threads.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Modules, read_examples
from edge_lorahub.errors import EdgeLorahubError, SettingsError
from edge_lorahub.export.checks.agreement import Agreement
from edge_lorahub.learning.objective import reference_loss
from edge_lorahub.search.settings import POPULATION

from .adaptation_time import check_platform, run_measured
from .cells import Cells
from .evaluators import evaluator
from .load import Load
from .peer_generation import generation
from .peer_inputs import Inputs
from .reach import REFERENCE, reach
from .report import Report, Row, environment, median_ms

Float64 = NDArray[np.float64]
PACKAGES = ("torch", "transformers", "peft", "lorahub", "optimum", "ctranslate2", "nevergrad")
_REFERENCE = "lorahub 0.1.0 (torch, fp32)"
# of float32: sums in another order; relative
_TOLERANCE = 1e-4


# What tells a cell from the others: a cell is a whole table, whose rows are measured in turn.
FIELDS = ("table",)


def cell_settings(load: Load, threads: int, rounds: int, whole_rounds: int) -> dict[str, Any]:
    """All that a table depends on. Raises SettingsError where a package is missing."""
    check_platform()
    check_packages()
    return {**asdict(load), "rounds": [rounds, whole_rounds], **environment(threads, *PACKAGES)}


def peers(load: Load, work: Path, threads: int, rounds: int, whole_rounds: int, cells: Cells) -> Report:
    """Tables: a candidate, whole adaptations in processes of their own, how soon ours are as good, and generation.

    Those that `cells` has are not measured again, and the facts name them.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import torch

    torch.set_num_threads(threads)
    inputs = Inputs(load, work)
    measures: dict[str, Callable[[], list[Row]]] = {
        "a candidate": lambda: _candidates(load, inputs, threads, rounds),
        "a whole adaptation": lambda: _whole(load, inputs, threads, whole_rounds),
        "until the reference's loss": lambda: reach(
            inputs.bundles, inputs.checkpoint, inputs.examples, inputs.modules, read_examples(inputs.examples),
            load.budget, threads, whole_rounds, work,
        ),
        "generation": lambda: generation(inputs, threads, rounds),
    }  # fmt: skip
    earlier = [title for title in measures if (title,) in cells]
    with _silence():
        tables: dict[str, list[Row]] = {title: cells.get((title,), measure) for title, measure in measures.items()}
    facts = {
        "size": load.size,
        "modules": f"{load.modules} of rank {load.rank}",
        "examples": f"{load.examples} of {load.length} tokens",
        "budget": load.budget,
        "rounds": f"{rounds}; whole adaptations {whole_rounds}",
        **({"measured in an earlier run": "; ".join(earlier)} if earlier else {}),
        **environment(threads, *PACKAGES),
    }
    charts = {"a candidate": "median, ms", "a whole adaptation": "median, s", "generation": "a token, ms"}
    return Report(facts, tables, charts)


def check_packages() -> None:
    import importlib.util

    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise SettingsError(f"bench peers needs {name}: pip install 'edge-lorahub[bench]'")


@contextlib.contextmanager
def _silence() -> Any:
    """The peers print as they go."""
    logging.disable(logging.WARNING)
    try:
        silent = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _candidates(load_: Load, inputs: Inputs, threads: int, rounds: int) -> list[Row]:
    from lorahub import algorithm

    task = read_examples(inputs.examples)
    torch_model, tokenizer, cache = algorithm.load_base_model_and_lora_modules(
        [str(folder) for folder in inputs.modules], str(inputs.checkpoint)
    )
    # with peft 0.21 the last module's tensors are the model's own, and the first candidate would overwrite them
    cache = {
        folder: {name: tensor.clone() for name, tensor in tensors.items()} for folder, tensors in cache.items()
    }  # fmt: skip
    dataset = algorithm.load_dataset([e.input for e in task], [e.output for e in task], tokenizer)

    def reference(population: Float64) -> Float64:
        arguments = (torch_model, cache, dataset, None, algorithm.default_get_loss, algorithm.default_l1_regularization)
        return np.array([algorithm.get_score(weights, *arguments) for weights in population])

    modules = Modules.load(inputs.modules)
    everyone: dict[tuple[str, str], Callable[[Float64], Float64]] = {(_REFERENCE, "paper"): reference}
    for precision, bundle in inputs.bundles.items():
        for composition in ("paper", "exact"):
            everyone[f"edge-lorahub {precision}", composition] = evaluator(
                bundle, modules, task, composition, threads, reference_loss, strength=0.05
            ).losses
    # as far from 0 as CMA-ES begins
    populations = np.random.default_rng(0).normal(0, 0.075, (rounds + 1, POPULATION, load_.modules))
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in everyone}
    losses: dict[tuple[str, str], list[Float64]] = {name: [] for name in everyone}
    for turn, population in enumerate(populations):
        for name, evaluate in everyone.items():
            start = time.perf_counter()
            losses[name].append(evaluate(population))
            if turn:  # the first is for warming up
                seconds[name].append((time.perf_counter() - start) / POPULATION)
    truth = np.concatenate(losses[_REFERENCE, "paper"])
    float32 = "edge-lorahub fp32"
    ours = np.concatenate(losses[float32, "paper"])
    error = float(np.abs(ours / truth - 1).max())
    if error > _TOLERANCE:
        raise EdgeLorahubError(f"the losses differ from the reference's by {error:.1e}, so there is nothing to time")
    rows = []
    for (who, composition), found in seconds.items():
        off = np.abs(np.concatenate(losses[who, composition]) / truth - 1).max()
        # random models' losses lie close together, so int8 keeps their order less well than a trained one's
        both = [np.concatenate(losses[name, composition]) for name in (float32, who)]
        order = 1.0 if who == _REFERENCE else Agreement(np.array(both)).rank_correlation
        ratio = np.median(np.array(seconds[_REFERENCE, "paper"]) / np.array(found))
        rows.append(
            {
                "who": who,
                "composition": composition,
                "median, ms": median_ms(found),
                "least, ms": round(min(found) * 1e3, 3),
                "reference / it": round(float(ratio), 2),
                "loss off by": f"{off:.1e}" if composition == "paper" else "-",
                "order as in fp32": round(order, 3),
            }
        )
    return rows


def _whole(load_: Load, inputs: Inputs, threads: int, rounds: int) -> list[Row]:
    modules = [str(folder) for folder in inputs.modules]
    commands: dict[tuple[str, str], list[str]] = {
        (_REFERENCE, "paper"): [
            "-c", REFERENCE, str(inputs.checkpoint), str(inputs.examples), str(threads), str(load_.budget), *modules,
        ]
    }  # fmt: skip
    for precision, bundle in inputs.bundles.items():
        for composition in ("paper", "exact"):
            commands[f"edge-lorahub {precision}", composition] = [
                "-m", "edge_lorahub", "adapt", str(bundle), str(inputs.examples), "--out", str(inputs.work / "adapter"),
                "--force", "--json", "--no-answers", "--threads", str(threads), "--budget", str(load_.budget),
                # everyone's same work: a surrogate would end when it sees nothing more to gain
                "--no-surrogate",
                "--composition", composition, *(part for module in modules for part in ("--module", module)),
            ]  # fmt: skip
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in commands}
    peaks: dict[tuple[str, str], list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken, peak, output = run_measured(*command)
            seconds[name].append(taken)
            peaks[name].append(peak)
            if name[0] != _REFERENCE and len(json.loads(output)["trace"]) != load_.budget:
                raise EdgeLorahubError(f"{name[0]} evaluated another number of candidates than {load_.budget}")
    reference, memory = (np.median(values[_REFERENCE, "paper"]) for values in (seconds, peaks))
    return [
        {
            "who": who,
            "composition": composition,
            "median, s": round(float(np.median(found)), 2),
            "reference / it": round(float(reference / np.median(found)), 2),
            "peak, MB": round(float(np.median(peaks[who, composition]))),
            "it / reference's peak": round(float(np.median(peaks[who, composition]) / memory), 3),
        }
        for (who, composition), found in seconds.items()
    ]
