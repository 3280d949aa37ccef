"""What a family of models is to the exporter.

A family is chosen by config.json's model_type. It reads config.json into a config of its own, and writes its graphs by
role; what the roles read and give is a matter of its architecture, of which the runtime has one module each.

To add a family, write a file with one object of this protocol and name it in `families/__init__.py`. Its `read` refuses
by name every field whose value its graphs do not honour: a field that is overlooked gives a bundle that is silently
wrong. `ConfigFields` warns of the fields that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edge_lorahub.bundle.manifest import Slot

from ..blocks.form import Form, LayerSlot
from ..blocks.onnx_graph import Graph, WeightFile
from ..source.checkpoint import Checkpoint

Config = TypeVar("Config")


@dataclass(frozen=True)
class Written:
    """Graphs by role, each role's in the order in which they run; and the slots that they have inputs for."""

    graphs: Mapping[str, tuple[Graph, ...]]
    slots: tuple[Slot, ...]


class Family(Protocol[Config]):
    """One family of models."""

    @property
    def model_types(self) -> tuple[str, ...]:
        """Of config.json."""
        ...

    @property
    def architecture(self) -> str:
        """What the runtime calls a model that works so, "decoder-only" for example."""
        ...

    def read(self, fields: Mapping[str, Any], path: Path) -> Config:
        """config.json's fields, checked. Raises CheckpointError for what cannot be exported, naming path and key."""
        ...

    def slots(self, config: Config) -> tuple[LayerSlot, ...]:
        """All linear layers that can take a LoRA."""
        ...

    def least_onnxruntime(self, config: Config) -> tuple[int, int]:
        """The first version of onnxruntime that computes the model's graphs rightly."""
        ...

    def write(self, config: Config, checkpoint: Checkpoint, weights: WeightFile, form: Form) -> Written:
        """The graphs in one form; weights that are not in the file yet are added. Raises CheckpointError."""
        ...
