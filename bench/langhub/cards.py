"""A module's card."""

from __future__ import annotations

from .base import BASE_MODEL
from .mixture import Mixture
from .padding import Pairs
from .train_module import Training

_CARD = """\
---
library_name: peft
base_model: {base}
license: apache-2.0
tags: [lora, edge-lorahub]
---

# {name}

{purpose}

## Data

Made by `edge_lorahub.bench.langhub`, seed {seed}. For example:

{examples}

## Training

LoRA on the queries and values of every layer, r = {rank}, alpha = {alpha}; {steps} steps of {batch} examples, AdamW
with a rate of {rate} and linear decay. The loss is on the answer with its end token, in the chat format of the base.
The rest of the task is stated, or with a chance of {silent:.0%} left to be guessed.
"""


def module_card(name: str, mixture: Mixture, settings: Training, seed: int, pairs: Pairs) -> str:
    """A module's README.md."""
    if mixture.skill is not None:
        purpose = f"The skill `{mixture.skill}` without the instruction saying so, in all forms."
    else:
        purpose = f"The form `{mixture.form}` without the instruction saying so, with all skills."
    return _CARD.format(
        base=BASE_MODEL,
        name=name,
        purpose=purpose,
        seed=seed,
        examples="\n".join(f"- `{asked!r}` -> `{answer}`" for asked, answer in pairs),
        rank=settings.rank,
        alpha=settings.alpha,
        steps=settings.steps,
        batch=settings.batch,
        rate=settings.rate,
        silent=mixture.silent,
    )
