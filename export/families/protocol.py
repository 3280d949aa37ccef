"""What a family of models is to the exporter.

A family is chosen by config.json's model_type. It reads config.json into a config of its own, and writes its graphs by
role; what the roles read and give is a matter of its architecture, of which the runtime has one module each.

To add a family, write a file with one object of this protocol and name it in `families/__init__.py`. Its `read` refuses
by name every field whose value its graphs do not honor: a field that is overlooked gives a bundle that is silently
wrong. `ConfigFields` warns of the fields that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edge_lorahub.bundle.manifest import ModelConfig, Slot

from ..blocks.form import Form
from ..blocks.onnx_graph import Graph, WeightFile
from ..source.model_source import ModelSource, Tensors, TextTokens

Config = TypeVar("Config")


@dataclass(frozen=True)
class Written:
    """A role's graphs in the order in which they run, and the slots that they have inputs for."""

    graphs: tuple[Graph, ...]
    slots: tuple[Slot, ...]


# The graphs in one form; weights that are not in the file yet are added. Raises CheckpointError.
Writer = Callable[[Form], Written]


class Family(Protocol[Config]):
    """One family of models."""

    @property
    def model_types(self) -> tuple[str, ...]:
        """Of config.json."""
        ...

    @property
    def architecture(self) -> str:
        """One of `bundle.architectures.ARCHITECTURES`."""
        ...

    def read(self, fields: Mapping[str, Any], path: Path) -> Config:
        """config.json's fields, checked. Raises CheckpointError for what cannot be exported, naming path and key."""
        ...

    def slot_kinds(self, config: Config) -> tuple[str, ...]:
        """The kinds of linear layers that can take a LoRA."""
        ...

    def usual_kinds(self, config: Config) -> tuple[str, ...]:
        """Those that take one where the user does not say."""
        ...

    def least_onnxruntime(self, config: Config) -> tuple[int, int]:
        """The first version of onnxruntime that computes the model's graphs rightly."""
        ...

    def text_tokens(self, config: Config, source: ModelSource) -> TextTokens:
        """The tokenizer and the special tokens. Raises CheckpointError, MissingPathError or MissingDependencyError."""
        ...

    def model(self, config: Config, tokens: TextTokens, base_model: str) -> ModelConfig:
        """What the runtime needs to know of the model."""
        ...

    def writer(self, config: Config, tensors: Tensors, weights: WeightFile) -> Writer:
        """What writes the graphs. Raises CheckpointError where the tensors are not those that `config` says."""
        ...

    def is_left_over(self, name: str) -> bool:
        """Whether a tensor that nothing reads is in many checkpoints, and part of none of the family's models."""
        ...
