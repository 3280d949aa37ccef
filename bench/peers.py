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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Example, Modules, Settings, load, load_to_adapt, read_examples
from edge_lorahub.errors import EdgeLorahubError, SettingsError
from edge_lorahub.export.agreement import Agreement
from edge_lorahub.learning import reference_loss
from edge_lorahub.objective import Evaluator
from edge_lorahub.search.settings import POPULATION
from edge_lorahub.stack import make_stack

from .adaptation import check_platform, run_measured, write_examples
from .load import Load
from .random_models import write_checkpoint, write_module
from .reach import REFERENCE, reach
from .report import Report, Row, environment, median_ms

Float64 = NDArray[np.float64]
PACKAGES = ("torch", "transformers", "peft", "lorahub", "optimum", "ctranslate2", "nevergrad")
PRECISIONS = ("fp32", "int8")
_REFERENCE = "lorahub 0.1.0 (torch, fp32)"
# of float32: sums in another order; relative
_TOLERANCE = 1e-4
_NEW_TOKENS = 32


class Inputs:
    """The files that everyone works from, in a folder; what is there already is used again."""

    def __init__(self, load: Load, work: Path) -> None:
        from edge_lorahub.export import export

        self.checkpoint = work / load.size
        if not (self.checkpoint / "config.json").is_file():
            write_checkpoint(self.checkpoint, load.size)
        self.modules = [
            write_module(work / f"{load.size}.r{load.rank}" / f"module-{i}", load.size, seed=i, rank=load.rank)
            for i in range(load.modules)
        ]
        self.examples = work / f"{load.size}.examples.jsonl"
        write_examples(self.examples, load)
        self.bundles = {precision: work / f"{load.size}.{precision}.bundle" for precision in PRECISIONS}
        for precision, bundle in self.bundles.items():
            export(self.checkpoint, bundle, precision=precision, force=True)
        self.work = work


def peers(load: Load, work: Path, threads: int, rounds: int, whole_rounds: int) -> Report:
    """Tables: a candidate, whole adaptations in processes of their own, how soon ours are as good, and generation."""
    check_platform()
    check_packages()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import torch

    torch.set_num_threads(threads)
    inputs = Inputs(load, work)
    with _silence():
        candidates = _candidates(load, inputs, threads, rounds)
        whole = _whole(load, inputs, threads, whole_rounds)
        until = reach(
            inputs.bundles, inputs.checkpoint, inputs.examples, inputs.modules, read_examples(inputs.examples),
            load.budget, threads, whole_rounds, work,
        )  # fmt: skip
        generation = _generation(load, inputs, threads, rounds)
    facts = {
        "size": load.size,
        "modules": f"{load.modules} of rank {load.rank}",
        "examples": f"{load.examples} of {load.length} tokens",
        "budget": load.budget,
        "rounds": f"{rounds}; whole adaptations {whole_rounds}",
        **environment(threads, *PACKAGES),
    }
    tables = {
        "a candidate": candidates,
        "a whole adaptation": whole,
        "until the reference's loss": until,
        "generation": generation,
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
            model = load_to_adapt(bundle, task, Settings(composition=composition), threads=threads)
            everyone[f"edge-lorahub {precision}", composition] = Evaluator(
                model, make_stack(list(modules), model.manifest, composition, model.lora), task, strength=0.05,
                max_input_tokens=2048, max_output_tokens=2048, reduce=reference_loss,
            ).losses  # fmt: skip
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


def _generation(load_: Load, inputs: Inputs, threads: int, rounds: int) -> list[Row]:
    """One text, greedily, to a fixed number of tokens; the end token is not let through."""
    text = read_examples(inputs.examples)[0]
    everyone = _generators(inputs, threads, text)
    seconds: dict[str, list[float]] = {name: [] for name in everyone}
    answers: dict[str, list[int]] = {}
    for turn in range(rounds + 1):
        for name, generate in everyone.items():
            answers[name] = generate(_NEW_TOKENS)
            times = []
            for count in (1, _NEW_TOKENS + 1):
                start = time.perf_counter()
                generate(count)
                times.append(time.perf_counter() - start)
            if turn:
                seconds[name].append((times[1] - times[0]) / _NEW_TOKENS)
    truth = answers["transformers fp32"]
    for name, answer in answers.items():
        # int8 of random weights may choose another word; float32 may not
        if len(answer) != len(truth) or ("fp32" in name and answer != truth):
            raise EdgeLorahubError(f"{name} answers {answer}, and transformers {truth}")
    ours = np.median(seconds["edge-lorahub int8"])
    return [
        {
            "who": name,
            "a token, ms": median_ms(found),
            "tokens/s": round(1 / float(np.median(found)), 1),
            "it / edge-lorahub int8": round(float(np.median(found) / ours), 2),
            "same tokens": f"{sum(a == b for a, b in zip(answers[name], truth, strict=True))} of {len(truth)}",
        }
        for name, found in seconds.items()
    ]


def _generators(inputs: Inputs, threads: int, text: Example) -> dict[str, Callable[[int], list[int]]]:
    """By name: the ids of an answer of so many tokens."""
    import ctranslate2
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM
    from transformers import AutoModelForSeq2SeqLM

    from edge_lorahub.onnx_runtime import ort
    from edge_lorahub.runs import Runner
    from edge_lorahub.stack import plain_inputs

    runners = {
        precision: Runner(load(bundle, threads=threads, lora="none"), plain_inputs((), "none"))
        for precision, bundle in inputs.bundles.items()
    }
    tokens = runners["fp32"].model.tokens
    ids, mask = tokens.pad(tokens.encode([text.input], 2048))
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def of_transformers(model: Any) -> Callable[[int], list[int]]:
        def generate(count: int) -> list[int]:
            with torch.no_grad():
                found = model.generate(**batch, max_new_tokens=count, min_new_tokens=count, do_sample=False)
            return [int(i) for i in found[0, 1:]]

        return generate

    def ours(runner: Runner) -> Callable[[int], list[int]]:
        def generate(count: int) -> list[int]:
            return [int(i) for i in decode(runner, ids, mask, count)]

        return generate

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    exported = inputs.work / f"{inputs.checkpoint.name}.optimum"
    if not (exported / "config.json").is_file():
        ORTModelForSeq2SeqLM.from_pretrained(inputs.checkpoint, export=True).save_pretrained(exported)
    converted = inputs.work / f"{inputs.checkpoint.name}.ct2"
    if not (converted / "model.bin").is_file():
        converter = ctranslate2.converters.TransformersConverter(str(inputs.checkpoint))
        converter.convert(str(converted), quantization="int8", force=True)
    translator = ctranslate2.Translator(
        str(converted), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
    )
    words = [f"w{i}" if i > 2 else "</s>" for i in ids[0]]

    def of_ctranslate2(count: int) -> list[int]:
        found = translator.translate_batch(
            [words], beam_size=1, min_decoding_length=count, max_decoding_length=count
        )[0]  # fmt: skip
        return [int(word[1:]) if word.startswith("w") else -1 for word in found.hypotheses[0]]

    return {
        "transformers fp32": of_transformers(AutoModelForSeq2SeqLM.from_pretrained(inputs.checkpoint).eval()),
        "optimum fp32": of_transformers(ORTModelForSeq2SeqLM.from_pretrained(exported, session_options=options)),
        "CTranslate2 int8": of_ctranslate2,
        "edge-lorahub fp32": ours(runners["fp32"]),
        "edge-lorahub int8": ours(runners["int8"]),
    }


def decode(runner: Any, ids: NDArray[np.int64], mask: NDArray[np.int64], count: int) -> Sequence[int]:
    """Greedy decoding of one text to a number of tokens, whatever they are but the end token."""
    from edge_lorahub.decoding import Decoding
    from edge_lorahub.runs import Encoded

    config = runner.model.manifest.model
    encoded = Encoded(runner, ids, mask)
    encoded.run()
    decoding = Decoding(runner, encoded)
    step = np.array([[config.decoder_start_token_id]], np.int64)
    found = []
    for _ in range(count):
        logits = decoding.step(step)[0]
        logits[config.eos_token_id] = -np.inf
        found.append(int(logits.argmax()))
        step = np.array([[found[-1]]], np.int64)
    return found
