"""Makes decoders.npz: what transformers and peft compute on tiny decoder-only models, for test_decoder_golden.py.

    python tests/golden/make_decoders.py

Made with transformers 4.57.6, peft 0.21.2, torch 2.13.0 (CPU) and numpy 2.4.6. The checkpoints, the LoRA and the texts
are seeded random ones, which `tests/helpers/decoders.py` makes again wherever the test runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from decoder_oracle import oracle_greedy, oracle_logits, oracle_model, with_lora, without_lora
from decoders import KINDS, TINY, export_decoder, random_lora, random_texts, write_checkpoint

FAMILIES = ("llama-3", "qwen2")
NEW_TOKENS = 80


def main() -> None:
    arrays = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in FAMILIES:
            checkpoint = write_checkpoint(folder / family, TINY[family])
            slots = export_decoder(checkpoint, folder / f"{family}-graphs").slots
            texts = random_texts(TINY[family]["vocab_size"])
            model = with_lora(oracle_model(checkpoint), random_lora(slots), KINDS)
            prompts = [text.ids for text in texts]
            with without_lora(model) as plain:
                arrays[f"{family}.plain.logits"] = np.concatenate(oracle_logits(plain, texts))
                arrays[f"{family}.plain.greedy"] = np.array(oracle_greedy(plain, prompts, NEW_TOKENS))
            arrays[f"{family}.lora.logits"] = np.concatenate(oracle_logits(model, texts))
            arrays[f"{family}.lora.greedy"] = np.array(oracle_greedy(model, prompts, NEW_TOKENS))
    np.savez_compressed(Path(__file__).with_name("decoders.npz"), **arrays)


if __name__ == "__main__":
    main()
