"""A batch of source texts after the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundle.encoder_decoder import ATTENTION_MASK
from ...bundle.graphs import INPUT_IDS
from ...bundle.manifest import ModelConfig
from ...machine.onnx_runtime import ort
from ..architecture import Float32
from ..binding import Run, Runner, value_of
from ..tokens import Ids
from .positions import check_length

# onnxruntime's product of one row, as a single query attends, sums four numbers at a time and what is left in another
# order. With whole fours a text's logits are the same to the last bit beside longer texts, whose padding adds zeros.
_MULTIPLE = 4


class Space:
    """Memory for what the encoder gives and the logits of batches that are run one after the other."""

    def __init__(self, runner: Runner, *, sources: int, labels: int) -> None:
        """sources and labels: the most tokens of a batch, with their padding."""
        numbers = sum(_numbers(shape) for shape in _output_shapes(runner.sessions[0], 1, 1).values())
        self.encoded: Float32 = np.empty(sources * numbers, np.float32)
        self.logits: Float32 = np.empty(labels * runner.model.manifest.model.vocab_size, np.float32)


def _output_shapes(session: ort.InferenceSession, batch: int, length: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the encoder's outputs, for B texts of T tokens."""
    sizes = {"B": batch, "T": length}
    return {o.name: tuple(sizes.get(size, size) for size in o.shape) for o in session.get_outputs()}


def _numbers(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


class Source:
    """What the decoder reads of a batch of source texts, by name, and the mask.

    Bound once; `run` encodes again with whatever the LoRA inputs hold by then.
    """

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, space: Float32 | None = None) -> None:
        """ids and mask int64 (B, T). space: where the encoder's outputs go, as large as `Space` makes it.

        None: memory of their own.
        """
        self.batch, length = ids.shape
        check_length(length, runner.model.manifest.model.longest_input, "a text", "--max-input-tokens")
        self.mask = value_of(mask)
        self.outputs: dict[str, ort.OrtValue] = {}
        encoder = runner.sessions[0]
        start = 0
        for name, shape in _output_shapes(encoder, self.batch, length).items():
            end = start + _numbers(shape)
            array = np.empty(end - start, np.float32) if space is None else space[start:end]
            self.outputs[name] = value_of(array.reshape(shape))
            start = end
        self._run = Run(runner, encoder, {INPUT_IDS: value_of(ids), ATTENTION_MASK: self.mask}, self.outputs)

    def run(self) -> None:
        self._run()


def in_fours(ids: Ids, mask: Ids, config: ModelConfig) -> tuple[Ids, Ids]:
    """Ids and mask (B, T) with T a multiple of four, where the model's relative positions reach so far."""
    length = ids.shape[1] + -ids.shape[1] % _MULTIPLE
    if config.longest_input is not None and length > config.longest_input:
        return ids, mask
    more = ((0, 0), (0, length - ids.shape[1]))
    return np.pad(ids, more, constant_values=config.pad_token_id), np.pad(mask, more)
