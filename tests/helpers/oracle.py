"""The oracle's side of the tests marked `oracle`: transformers + peft in float32, on batches made here.

Needs torch: a test file calls `pytest.importorskip` before it imports this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from scores import forced, score
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

from edge_lorahub import Example, Model
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import linear_layers

PAD, EOS = 0, 1
TOLERANCE = 1e-5
# A module that moves the logits by less than this, relative to the largest, would test nothing.
VISIBLE = 0.02
# Five texts and their answers, in tokens: past the farthest relative distance (128), and down to one word.
TEXT_LENGTHS = (150, 63, 40, 17, 2)
ANSWER_LENGTHS = (6, 2, 9, 3, 12)


@dataclass(frozen=True)
class Batch:
    """Texts and answers in the word-level tokenizer's words, and the ids that they stand for, padded."""

    examples: list[Example]
    ids: torch.Tensor  # (B, T)
    mask: torch.Tensor  # (B, T)
    labels: torch.Tensor  # (B, S), -100 where there is none


@dataclass(frozen=True)
class Result:
    """Logits (B, S, V) of the label positions, and the mean cross-entropy of all real label tokens."""

    logits: NDArray[np.float32]
    loss: float

    def difference(self, truth: Result) -> float:
        """The largest difference of the logits, relative to the largest logit."""
        return float(np.abs(self.logits - truth.logits).max() / np.abs(truth.logits).max())


def random_batch(vocabulary: int, seed: int = 0) -> Batch:
    """Five random examples of different lengths."""
    rng = np.random.default_rng(seed)
    sources, targets = (
        [np.append(rng.integers(3, vocabulary, length - 1), EOS) for length in lengths]
        for lengths in (TEXT_LENGTHS, ANSWER_LENGTHS)
    )
    examples = [Example(words(s), words(t)) for s, t in zip(sources, targets, strict=True)]
    ids, mask = pad(sources)
    return Batch(examples, ids, mask, pad(targets, -100)[0])


def all_kinds(size: str) -> tuple[str, ...]:
    """Every kind of linear layer of a size: q, k, v, o, wo, and wi or wi_0 and wi_1."""
    return tuple(sorted({name.rpartition(".")[2] for name, _, _ in linear_layers(size)}))


def words(ids: Sequence[int]) -> str:
    """The text of which the word-level tokenizer of bench/random_models.py makes those ids."""
    return " ".join(f"w{i}" for i in ids if i > 2)


def pad(rows: Sequence[NDArray[np.int64]], filler: int = PAD) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths -> ids and mask (B, longest)."""
    tensors = [torch.as_tensor(row) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(t) for t in tensors], batch_first=True)
    return ids, mask


def oracle_model(checkpoint: Path) -> PreTrainedModel:
    """transformers' model of a checkpoint, in float32."""
    return AutoModelForSeq2SeqLM.from_pretrained(checkpoint).eval()


def oracle_modules(checkpoint: Path, folders: Sequence[Path]) -> PeftModel:
    """The model with peft's adapters of those folders, each called after its folder."""
    model = PeftModel.from_pretrained(oracle_model(checkpoint), folders[0], adapter_name=folders[0].name)
    for folder in folders[1:]:
        model.load_adapter(folder, folder.name)
    return model.eval()


def oracle_result(model: torch.nn.Module, batch: Batch) -> Result:
    """What the oracle computes, with whatever adapter is active."""
    with torch.no_grad():
        output = model(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.labels)
    return Result(output.logits.numpy(), float(output.loss))


def our_result(model: Model, inputs: LoraInputs, batch: Batch, *, short: bool = False) -> Result:
    """What edge-lorahub computes: logits of the whole batch, and the loss of the texts, in their buckets.

    short: by the graphs for short outputs.
    """
    runner = Runner(model, "score", inputs, short=short)
    labels = batch.labels.clamp(min=PAD).numpy()
    logits = forced(runner, batch.ids.numpy(), batch.mask.numpy(), labels)
    losses = score(runner, batch.examples, 2048, 256)
    return Result(logits, float(losses.sums.sum() / losses.tokens.sum()))


def assert_same(ours: Result, truth: Result, other_than: Result | None = None) -> None:
    """Asserts that logits and loss are within 1e-5 (relative), and prints what they are (pytest -rP).

    other_than is what the test could pass with by mistake, the plain model mostly: the truth must not be it.
    """
    logits, loss = ours.difference(truth), abs(ours.loss - truth.loss) / truth.loss
    print(f"[measured] logits {logits:.1e}, loss {loss:.1e}")
    assert logits <= TOLERANCE, f"logits differ by {logits:.1e}"
    assert loss <= TOLERANCE, f"loss is {ours.loss}, not {truth.loss}"
    if other_than is not None:
        change = other_than.difference(truth)
        assert change > VISIBLE, f"the truth is as good as untouched: {change:.1e}"


def lora_layers(model: PeftModel) -> dict[str, LoraLayer]:
    """peft's layers that have a LoRA, by the name of the linear layer in the Hugging Face model."""
    found = model.base_model.model.named_modules()
    return {name: layer for name, layer in found if isinstance(layer, LoraLayer)}


@contextmanager
def merged(model: PeftModel, weights: Mapping[str, float]) -> Iterator[PeftModel]:
    """The truth of exact mode: every base weight W + sum w_i delta_i, delta_i being peft's get_delta_weight."""
    kept = {}
    with torch.no_grad():
        for name, layer in lora_layers(model).items():
            kept[name] = layer.get_base_layer().weight.clone()
            for adapter, weight in weights.items():
                if adapter in layer.lora_A:
                    layer.get_base_layer().weight += weight * layer.get_delta_weight(adapter)
    try:
        with model.disable_adapter():
            yield model
    finally:
        with torch.no_grad():
            for name, layer in lora_layers(model).items():
                layer.get_base_layer().weight.copy_(kept[name])
