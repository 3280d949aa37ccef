"""Training of one LoRA module on the frozen model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model

from edge_lorahub.langhub import SLOTS

from .base import Base
from .padding import Pairs, encode, label_logits, make_batch


@dataclass(frozen=True)
class Training:
    """Settings of one module's training: AdamW, a short warm-up, then a linear decay to nothing."""

    steps: int = 200
    batch: int = 16
    rate: float = 2e-3
    warm_up: int = 10
    rank: int = 4
    alpha: int = 8

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (1.0 - step / self.steps)


def train_module(
    base: Base, settings: Training, next_pairs: Callable[[], Pairs], seed: int, report: Callable[[int, float], None]
) -> Any:
    """A PEFT model around ``base.model``, trained on what ``next_pairs`` gives for each step.

    The base is wrapped in place; ``.unload()`` of the result gives it back. report gets the step, from 1, and its loss.
    """
    torch.manual_seed(seed)
    model: Any = get_peft_model(
        base.model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=list(SLOTS),
            lora_dropout=0.0,
        ),
    ).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=0.0, betas=(0.9, 0.98))
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        batch = make_batch([encode(base.tokenizer, base.prompt, *pair) for pair in next_pairs()])
        loss = torch.nn.functional.cross_entropy(label_logits(model.get_base_model(), batch), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        report(step + 1, loss.item())
    return model.eval()
