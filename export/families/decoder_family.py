"""The families of decoder-only models: they differ in how config.json is read, and share graphs and checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.bundle.architectures import DECODER_ONLY
from edge_lorahub.bundle.manifest import ModelConfig

from ..blocks.decoder_config import DecoderConfig
from ..blocks.decoder_graphs import DecoderGraphs
from ..blocks.decoder_tensors import DecoderTensors
from ..blocks.form import Form
from ..blocks.onnx_graph import WeightFile
from ..source.decoder_only_tokens import decoder_only_tokens
from ..source.model_source import ModelSource, Tensors, TextTokens
from .config_fields import ConfigFields
from .config_refusals import refuse_other_heads, refuse_other_kinds
from .protocol import Writer, Written

# What older versions of transformers saved of the rotary positions, which are made from config.json.
_BUFFER = re.compile(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


@dataclass(frozen=True)
class DecoderFamily:
    """A family of decoder-only models, a `protocol.Family`.

    classes: transformers' names of the language model and of the model without its head. read_config reads what is
    the family's own.
    """

    model_type: str
    classes: tuple[str, str]
    read_config: Callable[[ConfigFields], DecoderConfig]
    architecture: str = DECODER_ONLY

    @property
    def model_types(self) -> tuple[str, ...]:
        return (self.model_type,)

    def read(self, fields: Mapping[str, Any], path: Path) -> DecoderConfig:
        refuse_other_kinds(fields, path)
        refuse_other_heads(fields, path, self.classes)
        checked = ConfigFields(fields, path)
        config = self.read_config(checked)
        config.check(path)
        checked.warn_of_unknown()
        return config

    def slot_kinds(self, config: DecoderConfig) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.kind for slot in config.slots()))

    def usual_kinds(self, config: DecoderConfig) -> tuple[str, ...]:
        """All of them: half of the modules that people share have them all."""
        return self.slot_kinds(config)

    def least_onnxruntime(self, config: DecoderConfig) -> tuple[int, int]:
        return config.least_onnxruntime()

    def text_tokens(self, config: DecoderConfig, source: ModelSource) -> TextTokens:
        return decoder_only_tokens(source, config.vocab_size)

    def model(self, config: DecoderConfig, tokens: TextTokens, base_model: str) -> ModelConfig:
        special = tokens.special
        return ModelConfig(
            family=config.model_type,
            base_model=base_model,
            vocab_size=config.vocab_size,
            layers=config.layers,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_size=config.head_size,
            start_token_id=None,
            eos_token_id=tokens.eos,
            pad_token_id=special.pad_token_id,
            end_token_ids=special.end_token_ids,
            forced_bos_token_id=special.forced_bos_token_id,
            forced_eos_token_id=special.forced_eos_token_id,
            longest_text=config.longest,
        )

    def writer(self, config: DecoderConfig, tensors: Tensors, weights: WeightFile) -> Writer:
        found = DecoderTensors(config, tensors)

        def write(form: Form) -> Written:
            graphs = DecoderGraphs(config, found, weights, form)
            graph = graphs.score() if form.role == "score" else graphs.generate()
            return Written((graph,), graphs.slots)

        return write

    def is_left_over(self, name: str) -> bool:
        return _BUFFER.fullmatch(name) is not None
