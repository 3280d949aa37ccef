"""Foreign tools on converted adapters: greedy tokens, and logits where they can be had.

Needs torch: a test file calls `pytest.importorskip` before it imports this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from edge_lorahub.bundle.manifest import Manifest, read_manifest
from edge_lorahub.cli.main import cli

Ids = list[int]
Float32 = NDArray[np.float32]
STEPS = 12
TOLERANCE = 1e-5


def convert(adapter: Path, form: str, out: Path, *options: object) -> Path:
    """The command, which must succeed."""
    result = CliRunner().invoke(cli, ["convert", str(adapter), "--to", form, "--out", str(out), *map(str, options)])
    assert result.exit_code == 0, result.output
    return out


def greedy(model: torch.nn.Module, rows: Sequence[Ids], *, whole: bool) -> list[Ids]:
    """Some tokens of a transformers-like model for each row alone, whatever they are; whole: the row is in them."""
    found = []
    for row in rows:
        ids = torch.tensor([row])
        with torch.no_grad():
            answer = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=STEPS, min_new_tokens=STEPS,
                do_sample=False, num_beams=1, pad_token_id=0,
            )  # fmt: skip
        found.append(answer[0, len(row) if whole else 1 :].tolist())
    return found


def source_logits(model: torch.nn.Module, row: Ids, labels: Ids) -> Float32:
    """(S, V) of an encoder-decoder's labels."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([row]), labels=torch.tensor([labels])).logits[0].numpy()


def relative(found: Float32, truth: Float32) -> float:
    """The largest difference, relative to the largest logit."""
    return float(np.abs(found - truth).max() / np.abs(truth).max())


class OnnxAdapter:
    """An encoder-decoder's bundle with an adapter file for each graph, on onnxruntime and numpy alone."""

    def __init__(self, bundle: Path, adapters: Path) -> None:
        self.manifest: Manifest = read_manifest(bundle)
        self._sessions = {}
        for name in ("encoder", "decoder"):
            adapter, options = ort.LoraAdapter(), ort.RunOptions()
            adapter.Load(str(adapters / f"{name}.onnx_adapter"))
            options.add_active_adapter(adapter)
            session = ort.InferenceSession(bundle / f"{name}.onnx", providers=["CPUExecutionProvider"])
            self._sessions[name] = session, options, adapter

    def logits(self, row: Ids, labels: Ids) -> Float32:
        """(S, V)."""
        ids, config = np.array([row]), self.manifest.model
        source = {"attention_mask": np.ones_like(ids)}
        cross = self._run("encoder", {"input_ids": ids, **source}, None)
        empty = np.zeros((1, config.kv_heads, 0, config.head_size), np.float32)
        past = {f"past.{layer}.{part}": empty for layer in range(config.layers) for part in ("key", "value")}
        start = {"input_ids": np.array([[config.start_token_id, *labels[:-1]]]), "past_tokens": np.array(0)}
        return self._run("decoder", {**source, **cross, **past, **start}, ["logits"])["logits"][0]

    def greedy(self, row: Ids, ends: Sequence[int] = ()) -> Ids:
        """Without a cache; tokens that end an answer are left out, as transformers does where it is to go on."""
        found: Ids = []
        for _ in range(STEPS):
            scores = self.logits(row, [*found, 0])[-1].copy()
            scores[list(ends)] = -np.inf
            found.append(int(scores.argmax()))
        return found

    def _run(self, name: str, inputs: dict[str, NDArray[np.generic]], outputs: list[str] | None) -> dict[str, Float32]:
        session, options, _ = self._sessions[name]
        # Python's run asks for all inputs by name; the adapter's go first
        idle = {
            value.name: np.zeros([d if isinstance(d, int) else 0 for d in value.shape], np.float32)
            for value in session.get_inputs()
            if ".lora_" in value.name
        }
        names = outputs or [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, {**idle, **inputs}, options), strict=True))


def assert_same(name: str, found: Callable[[], list[Ids]], truth: list[Ids]) -> None:
    """Asserts that all tokens are the same, and prints so (pytest -rP)."""
    rows = found()
    same = sum(one == other for one, other in zip(rows, truth, strict=True))
    print(f"[measured] {name}: {same} of {len(truth)} greedy answers")
    assert rows == truth
