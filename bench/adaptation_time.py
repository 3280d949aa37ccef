"""How long an adaptation takes, and how much memory, at a real model's dimensions."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub.errors import EdgeLorahubError, SettingsError
from edge_lorahub.search.explain import CHECKS
from edge_lorahub.testing.random_models import SIZES, is_decoder_only, write_checkpoint, write_module

from .load import ANSWER_TOKENS, Load
from .operators import operator_shares, product_share
from .report import Report, environment
from .roofline import Machine, Work

_MOST_OPERATORS = 12
# The kernel counts a parent's memory to a child until the child has become another program, and this process
# has held models. So a small process stands between: it runs the command and prints that one's peak in bytes.
_PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
unit = 1 if sys.platform == "darwin" else 1024
print("\\n%d" % (unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def measure(load: Load, work: Path | None, threads: int | None) -> Report:
    """Exports, checks the answers and measures. A checkpoint that `work` has is used again."""
    check_platform()
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-lorahub-bench-")))
        checkpoint, bundle = work / load.size, work / f"{load.size}.{load.precision}.bundle"
        if not (checkpoint / "config.json").is_file():
            write_checkpoint(checkpoint, load.size)
        facts: dict[str, Any] = {"size": load.size, "precision": load.precision}
        command = ["export", str(checkpoint), str(bundle), "--force", "--precision", load.precision, "--no-check"]
        seconds, peak, _ = _run(command)
        facts |= {
            "checkpoint MB": round(_megabytes(checkpoint)),
            "bundle / checkpoint": round(_megabytes(bundle) / _megabytes(checkpoint), 4),
            "export, s": round(seconds, 2),
            "export peak, MB": round(peak),
        }
        modules = [
            write_module(work / f"{load.size}.r{load.rank}" / f"module-{i}", load.size, seed=i, rank=load.rank)
            for i in range(load.modules)
        ]
        examples = work / f"{load.size}.examples.jsonl"
        write_examples(examples, load)
        facts |= _check(load, checkpoint, bundle, modules[0], examples, threads)
        out = work / "adapter"
        command = ["adapt", str(bundle), str(examples), "--out", str(out), "--force", "--json", "--no-answers",
                   "--budget", str(load.budget), "--composition", load.composition]  # fmt: skip
        command += [part for module in modules for part in ("--module", str(module))]
        command += [] if threads is None else ["--threads", str(threads)]
        seconds, peak, output = _run(command)
        record = json.loads(output)
        threads = record["threads"]
        # after the search the examples are checked with candidates that are no part of the trace
        checks = CHECKS * len((record["explanation"] or {}).get("checked", ()))
        seconds_each = record["seconds"] / (len(record["trace"]) + checks)
        shares, candidate = _operators(load, bundle, modules, examples)
        work_alone = Machine(threads).product_seconds(candidate, load.precision)
        facts |= {
            "modules": f"{load.modules} of rank {load.rank}",
            "examples": load.examples_fact,
            "composition": load.composition,
            "candidates": len(record["trace"]),
            "candidates to check examples": checks,
            "whole adapt, s": round(seconds, 2),
            "a candidate, s": round(seconds_each, 4),
            "adapt peak, MB": round(peak),
            "its products at this machine's rate, s": round(work_alone, 4),
            "share of that rate reached": round(work_alone / seconds_each, 3),
            "share of products in its runs": round(product_share(shares), 3),
            **environment(threads),
        }
        rows = [{"operator": kind, "share of the runs": round(share, 4)} for kind, share in shares.items()]
        return Report(facts, {"operators": rows[:_MOST_OPERATORS]}, {"operators": "share of the runs"})


def check_platform() -> None:
    if sys.platform == "win32":
        raise SettingsError("memory is measured as Unix counts it: this benchmark does not run on Windows")


def _run(arguments: list[str]) -> tuple[float, float, str]:
    return run_measured("-m", "edge_lorahub", *arguments)


def run_measured(*arguments: str) -> tuple[float, float, str]:
    """Runs Python with arguments in a new process: seconds from its start, its peak memory in MB, its output."""
    start = time.perf_counter()
    command = [sys.executable, *arguments]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *command], capture_output=True, text=True, encoding="utf-8", check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise EdgeLorahubError(f"{' '.join(arguments[:3])} failed: {done.stderr.strip()}")
    output, _, peak = done.stdout.rstrip().rpartition("\n")
    return seconds, int(peak) / 1e6, output


def write_examples(path: Path, load: Load) -> None:
    """Random words of the word-level tokenizer, of which each is one token.

    Outputs get an end token, and T5's inputs too.
    """
    rng = np.random.default_rng(0)
    vocabulary = SIZES[load.size]["vocab_size"]
    ends = 0 if is_decoder_only(load.size) else 1

    def words(count: int) -> list[str]:
        return [f"w{i}" for i in rng.integers(3, vocabulary, count)]

    common = words(load.common)
    rows = [
        {
            "input": " ".join([*common, *words(length - ends - len(common))]),
            "output": " ".join(words(ANSWER_TOKENS - 1)),
        }
        for length in load.lengths
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _check(
    load: Load, checkpoint: Path, bundle: Path, module: Path, examples: Path, threads: int | None
) -> dict[str, Any]:
    """Before anything is timed: the float32 answers are right, and int8 orders candidates as float32 does."""
    if load.precision == "fp32":
        _check_one_hot(bundle, module, examples, threads)
        return {}
    from edge_lorahub.export.checks.agreement import LEAST_CORRELATION, check_export

    agreement = check_export(checkpoint, bundle)
    if agreement.rank_correlation < LEAST_CORRELATION:
        raise EdgeLorahubError(f"{load.precision} does not keep the order of candidates: {agreement}")
    return {"rank correlation with fp32": round(agreement.rank_correlation, 4)}


def _check_one_hot(bundle: Path, module: Path, examples: Path, threads: int | None) -> None:
    """Composing one module with w = 1 is the module merged into the weights."""
    from edge_lorahub import Modules, bake, load, load_adapter, read_examples
    from edge_lorahub.composition.stack import make_stack, plain_inputs
    from edge_lorahub.runtime.binding import Runner
    from edge_lorahub.runtime.scoring import Batches, Scorer

    model = load(bundle, threads=threads)
    batches = Batches(model.bundle, model.bundle.encode(read_examples(examples), 2048, 256))
    slots = model.manifest.slots
    with tempfile.TemporaryDirectory(dir=bundle.parent) as folder:
        baked = Path(folder) / "baked"
        bake(bundle, load_adapter(module, model.manifest), baked)
        expected = Scorer(Runner(load(baked, threads=threads), "score", plain_inputs(slots)), batches).losses().sums
    for composition in ("exact", "paper"):
        inputs = make_stack(list(Modules.load([module])), model.manifest, composition).inputs()
        inputs.compose(np.ones(1))
        found = Scorer(Runner(model, "score", inputs), batches).losses().sums
        if not np.allclose(found, expected, rtol=1e-4):
            raise EdgeLorahubError(f"{composition} composition of one module differs from the merged module")


def _operators(load: Load, bundle: Path, modules: list[Path], examples: Path) -> tuple[dict[str, float], Work]:
    """The operators' shares of a candidate, and what work it is, padding included."""
    from edge_lorahub import Modules, read_examples
    from edge_lorahub.composition.stack import lora_type_for, make_stack
    from edge_lorahub.runtime.decoder_only.packed_scoring import PackedBatch
    from edge_lorahub.runtime.opened import OpenBundle
    from edge_lorahub.runtime.scoring import Batches

    opened = OpenBundle(bundle)
    task = opened.encode(read_examples(examples), 2048, 2048)
    batches = Batches(opened, task)
    lora_type = lora_type_for(opened.manifest, load.composition)
    stack = make_stack(list(Modules.load(modules)), opened.manifest, load.composition, lora_type)
    # T5's texts and answers are of one length each, so there is no padding
    texts, answers = (sum(column) for column in zip(*task.lengths, strict=True))
    if is_decoder_only(load.size):
        texts = sum(batch.packed.tokens for batch in batches.batches if isinstance(batch, PackedBatch))
    return operator_shares(bundle, stack, batches, len(modules)), Work(load.size, texts, answers, batches.short)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6
