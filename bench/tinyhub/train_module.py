"""Training of one LoRA module on the frozen base, in one single-threaded process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import T5ForConditionalGeneration

from .padding import to_batch
from .train_base import rate_at

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class LoraTraining:
    """Settings of one LoRA's training."""

    steps: int = 300
    batch: int = 64
    rate: float = 1e-2
    decay_from: float = 0.45
    rank: int = 4
    alpha: int = 4


def lora_config(settings: LoraTraining) -> LoraConfig:
    """The queries and values of every attention, as LoraHub's modules have them."""
    return LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=["q", "v"],
        lora_dropout=0.0,
    )


def train_lora(
    base: T5ForConditionalGeneration, settings: LoraTraining, next_pairs: Callable[[], Pairs], seed: int
) -> PeftModel:
    """A LoRA on a copy of the base, trained on what ``next_pairs`` gives for each step."""
    torch.manual_seed(seed)
    model: Any = get_peft_model(copy.deepcopy(base), lora_config(settings)).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step / settings.steps, settings.decay_from)
    )
    for _ in range(settings.steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**to_batch(next_pairs())).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
