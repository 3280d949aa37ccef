"""The oracle's side of the tests of decoder-only models: transformers + peft in float32, each text alone.

Needs torch: a test file calls `pytest.importorskip` before it imports this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.runtime.decoder_only.packing import Text

Float32 = NDArray[np.float32]


def oracle_model(checkpoint: Path) -> PreTrainedModel:
    """transformers' model of a checkpoint in float32; every tensor must have its place."""
    model, info = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"], info
    assert not info["unexpected_keys"], info
    return model.eval()


def with_lora(model: PreTrainedModel, lora: Mapping[str, Float32], kinds: Sequence[str]) -> PeftModel:
    """peft's model with the LoRA that graphs get as inputs; the scale becomes part of A."""
    rank = next(len(array) for name, array in lora.items() if name.endswith("lora_scale"))
    # alpha = r: peft's own scale is 1
    wrapped = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=list(kinds))).eval()
    with torch.no_grad():
        for name, layer in wrapped.base_model.model.named_modules():
            if lora_a_name(name) in lora:
                a = lora[lora_a_name(name)] * lora[lora_scale_name(name)]
                layer.lora_A["default"].weight.copy_(torch.tensor(a.T))
                layer.lora_B["default"].weight.copy_(torch.tensor(lora[lora_b_name(name)].T))
    return wrapped


@contextmanager
def without_lora(model: PeftModel) -> Iterator[PeftModel]:
    with model.disable_adapter():
        yield model


def oracle_logits(model: torch.nn.Module, texts: Sequence[Text]) -> list[Float32]:
    """For each text the logits that predict its label tokens, (labels, V)."""
    found = []
    with torch.no_grad():
        for text in texts:
            logits = model(input_ids=torch.tensor(text.ids)[None]).logits[0]
            found.append(logits[text.start - 1 : -1].numpy().copy())
    return found


def oracle_greedy(model: torch.nn.Module, prompts: Sequence[NDArray[np.int64]], count: int) -> list[list[int]]:
    """So many tokens after each prompt, whatever they are."""
    found = []
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor(prompt)[None]
            settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
            answer = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, **settings
            )
            found.append(answer[0, len(prompt) :].tolist())
    return found


def oracle_choices(
    model: torch.nn.Module, prompts: Sequence[NDArray[np.int64]], answers: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The most likely token at each place of the answers, after the prompt and the answer's tokens before it.

    Where these are the answers, they are what the model itself gives by greedy decoding, in one run instead of one a
    token.
    """
    found = []
    with torch.no_grad():
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([*prompt, *answer[:-1]])[None]
            found.append(model(input_ids=ids).logits[0, len(prompt) - 1 :].argmax(-1).tolist())
    return found


def difference(ours: Sequence[Float32], truth: Sequence[Float32]) -> float:
    """The largest difference of the logits, relative to the largest logit."""
    largest = max(float(np.abs(rows).max()) for rows in truth)
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, truth, strict=True)) / largest
