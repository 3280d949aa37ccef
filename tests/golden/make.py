"""Makes golden.npz: what transformers and peft compute on the tiny models, for test_golden.py.

    python tests/golden/make.py

Made with transformers 4.57.6, peft 0.21.2, torch 2.13.0 (CPU) and numpy 2.4.6; the checkpoints and modules
are seeded random ones, which `bench/random_models.py` makes again wherever the test runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import MT5ForConditionalGeneration, T5ForConditionalGeneration

from edge_lorahub.testing.random_models import write_checkpoint, write_module

SIZES = ("tiny", "tiny-t5", "tiny-mt5")
KINDS = ("q", "v", "wo")
LENGTHS = (150, 31, 4)
NEW_TOKENS = 12


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, mask (3, 150) and labels (3, 6): past the farthest relative distance, and padded."""
    rng = np.random.RandomState(0)
    ids = rng.randint(3, 128, (len(LENGTHS), max(LENGTHS)))
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    return ids * mask, mask, rng.randint(3, 128, (len(LENGTHS), 6))


def main() -> None:
    arrays = {}
    ids, mask, labels = (torch.tensor(array) for array in batch())
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for size in SIZES:
            checkpoint = write_checkpoint(Path(folder) / size, size)
            module = write_module(Path(folder) / f"{size}-lora", size, seed=7, rank=3, kinds=KINDS, std=0.1)
            family = MT5ForConditionalGeneration if size == "tiny-mt5" else T5ForConditionalGeneration
            model = family.from_pretrained(checkpoint).eval()
            for name in ("plain", "module"):
                if name == "module":
                    model = PeftModel.from_pretrained(model, module).eval()
                output = model(input_ids=ids, attention_mask=mask, labels=labels)
                arrays[f"{size}.{name}.logits"] = output.logits.numpy()
                arrays[f"{size}.{name}.loss"] = output.loss.numpy()
                arrays[f"{size}.{name}.greedy"] = model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1
                ).numpy()
    np.savez_compressed(Path(__file__).with_name("golden.npz"), **arrays)


if __name__ == "__main__":
    main()
