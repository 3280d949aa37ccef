"""The same work by others, in turn and in one run: the released LoraHub, transformers, optimum and CTranslate2.

The reference is `lorahub` 0.1.0 itself, on torch and peft: its loading, its loss and its composition, one
candidate after the other. It knows no decoder-only models, whose reference is torch and peft alone. Everyone gets the
same checkpoint, modules, examples, texts and number of threads.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import read_examples
from edge_lorahub.errors import EdgeLorahubError, SettingsError
from edge_lorahub.learning.objective import mean_loss, reference_loss
from edge_lorahub.runtime.opened import OpenBundle
from edge_lorahub.testing.random_models import is_decoder_only

from .adaptation_time import check_platform, run_measured
from .cells import Cells
from .load import Load
from .peer_candidates import compare_candidates
from .peer_generation import generation
from .peer_inputs import Inputs
from .reach import REFERENCE, reach
from .report import Report, Row, environment

Float64 = NDArray[np.float64]
_DECODER_PACKAGES = ("torch", "transformers", "peft")
PACKAGES = (*_DECODER_PACKAGES, "lorahub", "optimum", "ctranslate2", "nevergrad")
_REFERENCE, _DECODER_REFERENCE = "lorahub 0.1.0 (torch, fp32)", "torch and peft, fp32"


# What tells a cell from the others: a cell is a whole table, whose rows are measured in turn.
FIELDS = ("table",)


def cell_settings(load: Load, threads: int, rounds: int, whole_rounds: int) -> dict[str, Any]:
    """All that a table depends on. Raises SettingsError where a package is missing."""
    check_platform()
    packages = packages_for(load)
    check_packages(packages)
    return {**asdict(load), "rounds": [rounds, whole_rounds], **environment(threads, *packages)}


def peers(load: Load, work: Path, threads: int, rounds: int, whole_rounds: int, cells: Cells) -> Report:
    """Tables: a candidate, whole adaptations in processes of their own, how soon ours are as good, and generation.

    Of a decoder-only model the first and the last: nobody else adapts one in this way. Those that `cells` has are not
    measured again, and the facts name them.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import torch

    torch.set_num_threads(threads)
    inputs = Inputs(load, work)
    measures: dict[str, Callable[[], list[Row]]]
    if is_decoder_only(load.size):
        measures = {
            "a candidate": lambda: _decoder_candidates(inputs, threads, rounds),
            "generation": lambda: generation(inputs, threads, rounds),
        }
    else:
        measures = {
            "a candidate": lambda: _candidates(inputs, threads, rounds),
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
        "examples": load.examples_fact,
        **({} if is_decoder_only(load.size) else {"budget": load.budget}),
        "rounds": rounds if is_decoder_only(load.size) else f"{rounds}; whole adaptations {whole_rounds}",
        **({"measured in an earlier run": "; ".join(earlier)} if earlier else {}),
        **environment(threads, *packages_for(load)),
    }
    charts = {"a candidate": "median, ms", "a whole adaptation": "median, s", "generation": "a token, ms"}
    return Report(facts, tables, {title: column for title, column in charts.items() if title in tables})


def packages_for(load: Load) -> tuple[str, ...]:
    """What the peers of a size need."""
    return _DECODER_PACKAGES if is_decoder_only(load.size) else PACKAGES


def check_packages(packages: Sequence[str]) -> None:
    import importlib.util

    for name in packages:
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


def _candidates(inputs: Inputs, threads: int, rounds: int) -> list[Row]:
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

    return compare_candidates(_REFERENCE, reference, inputs, threads, rounds, reference_loss, strength=0.05)


def _decoder_candidates(inputs: Inputs, threads: int, rounds: int) -> list[Row]:
    from .torch_decoder import TorchCandidates

    task = OpenBundle(inputs.bundles["fp32"]).encode(read_examples(inputs.examples), 2048, 256)
    reference = TorchCandidates(inputs.checkpoint, inputs.modules, task).losses
    return compare_candidates(_DECODER_REFERENCE, reference, inputs, threads, rounds, mean_loss)


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
