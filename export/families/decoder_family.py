"""The families of decoder-only models: they differ in how config.json is read, and share graphs and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..blocks.decoder_config import DecoderConfig
from ..blocks.decoder_graphs import DecoderGraphs
from ..blocks.decoder_tensors import DecoderTensors
from ..blocks.form import Form, LayerSlot
from ..blocks.onnx_graph import WeightFile
from ..source.checkpoint import Checkpoint
from .config_fields import ConfigFields
from .config_refusals import refuse_other_heads, refuse_other_kinds
from .protocol import Written

# Roles of graphs.
SCORE, GENERATE = "score", "generate"


@dataclass(frozen=True)
class DecoderFamily:
    """A family of decoder-only models, a `protocol.Family`.

    classes: transformers' names of the language model and of the model without its head. read_config reads what is
    the family's own.
    """

    model_type: str
    classes: tuple[str, str]
    read_config: Callable[[ConfigFields], DecoderConfig]
    architecture: str = "decoder-only"

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

    def slots(self, config: DecoderConfig) -> tuple[LayerSlot, ...]:
        return config.slots()

    def least_onnxruntime(self, config: DecoderConfig) -> tuple[int, int]:
        return config.least_onnxruntime()

    def write(self, config: DecoderConfig, checkpoint: Checkpoint, weights: WeightFile, form: Form) -> Written:
        graphs = DecoderGraphs(config, DecoderTensors(config, checkpoint), weights, form)
        by_role = {SCORE: (graphs.score(),), GENERATE: (graphs.generate(),)}
        return Written(by_role, graphs.slots)
