"""Where a candidate's time goes, by ONNX Runtime's own profile of a bundle's graphs."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from edge_lorahub.composition.stack import Stack
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Scorer
from edge_lorahub.runtime.session import Model

# In the attention operators there are products too, which are not counted; those of absorbed cross-attention with the
# encoder's states are.
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger")
_RUNS = 5


def operator_shares(bundle: Path, stack: Stack, batches: Batches, dimension: int) -> dict[str, float]:
    """The share of each kind of operator in the time of the runs that evaluate a candidate, on one thread.

    What is left to 1 is time between operators. Profiling makes small operators dearer than they are.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        runner = Runner(Model(bundle, threads=1, options=options), "score", stack.inputs(), short=batches.short)
        runner.lora.inputs.compose(np.full(dimension, 0.05))
        scorer = Scorer(runner, batches)
        for _ in range(_RUNS):
            scorer.losses()
        spent: Counter[str] = Counter()
        whole = 0
        for session in runner.sessions:
            runs = 0
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            batch_count = len(batches.batches)
            # the first candidate's runs make the memory plan
            for event in sorted(events, key=lambda event: event["ts"] + event.get("dur", 0)):
                if event["name"] == "model_run":
                    runs += 1
                    whole += event["dur"] if runs > batch_count else 0
                elif event["name"].endswith("_kernel_time") and runs >= batch_count:
                    spent[event["args"]["op_name"]] += event["dur"]
    return {kind: duration / whole for kind, duration in spent.most_common()}


def product_share(shares: dict[str, float]) -> float:
    return sum(share for kind, share in shares.items() if kind in PRODUCTS)
