"""The peer of decoder-only models: transformers and peft on torch, in float32, without work that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from edge_lorahub.runtime.opened import EncodedTask

Float64 = NDArray[np.float64]


class TorchCandidates:
    """Losses of candidates: modules composed as the paper does, and the logits of label tokens alone.

    Composing is one product with all modules, whose result is copied into the parameters; the head gets the states
    that predict a label token and no others, because a head over all tokens would be half of the work; all examples
    are one batch.
    """

    def __init__(self, checkpoint: Path, modules: Sequence[Path], task: EncodedTask) -> None:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, trust_remote_code=False)
        peft = PeftModel.from_pretrained(model, str(modules[0])).eval()
        # injected into the model, whose own layers are read from here on
        self._body, self._head = model.model, model.lm_head
        parameters = {name.replace(".default.", "."): value for name, value in peft.named_parameters()}
        files = [load_file(folder / "adapter_model.safetensors") for folder in modules]
        self._parameters = [parameters[name] for name in files[0]]
        self._stack = torch.stack([torch.cat([file[name].ravel() for name in files[0]]) for file in files])
        texts = [np.concatenate(both) for both in zip(task.sources, task.labels, strict=True)]
        longest = max(map(len, texts))
        self._ids = torch.tensor(np.stack([np.pad(text, (0, longest - len(text))) for text in texts]))
        self._mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
        self._counts = [len(labels) for labels in task.labels]
        self._rows = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(self._counts))
        places = [np.arange(labels) + source - 1 for source, labels in task.lengths]
        self._places = torch.tensor(np.concatenate(places))
        self._labels = torch.tensor(np.concatenate(task.labels))

    def losses(self, population: Float64) -> Float64:
        """weights (C, N) -> the mean over examples of their mean token cross-entropy, (C,)."""
        with torch.inference_mode():
            return np.array([self._loss(weights) for weights in torch.tensor(population, dtype=torch.float32)])

    def _loss(self, weights: torch.Tensor) -> float:
        composed = weights @ self._stack
        sizes = [parameter.numel() for parameter in self._parameters]
        for parameter, part in zip(self._parameters, composed.split(sizes), strict=True):
            parameter.copy_(part.view_as(parameter))
        states = self._body(input_ids=self._ids, attention_mask=self._mask, use_cache=False).last_hidden_state
        logits = self._head(states[self._rows, self._places])
        losses = torch.nn.functional.cross_entropy(logits, self._labels, reduction="none")
        return float(torch.stack([each.mean() for each in losses.split(self._counts)]).mean())


def torch_generator(checkpoint: Path, ids: NDArray[np.int64]) -> Callable[[int], list[int]]:
    """By transformers, greedily: so many tokens after one text (1, T); the end token is not let through."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, trust_remote_code=False).eval()
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.ones(ids.shape, dtype=torch.int64)}

    def generate(count: int) -> list[int]:
        with torch.inference_mode():
            found = model.generate(**batch, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        return [int(i) for i in found[0, ids.shape[1] :]]

    return generate
