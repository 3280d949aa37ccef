"""Which of a checkpoint's tensors an adapter changes, and whether it fits them."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.errors import EdgeLorahubWarning, ModuleMismatchError
from edge_lorahub.lora.base_names import may_be_same
from edge_lorahub.lora.pair import Lora

from ..source.model_source import Tensors

# What files of a decoder-only model without its head leave out.
_PREFIX = "model."


def merged_layers(adapter: Adapter, tensors: Tensors, kinds: Collection[str]) -> dict[str, Lora]:
    """The adapter's pairs by the name of the weight that each changes, (d_out, d_in).

    kinds: of the linear layers that can take a LoRA, the last parts of their names. Raises ModuleMismatchError for a
    layer that is none of these, that is not there, or that has another shape.
    """
    found: dict[str, Lora] = {}
    for layer, lora in adapter.pairs.items():
        if layer.rpartition(".")[2] not in kinds:
            raise ModuleMismatchError(
                f"{adapter.name}: {layer} is no layer of this model that can take a LoRA ({','.join(kinds)})"
            )
        name = f"{layer}.weight"
        if name not in tensors:
            name = name.removeprefix(_PREFIX)
        if name not in tensors:
            raise ModuleMismatchError(
                f"{adapter.name}: {layer}.weight is no tensor of {tensors.folder}; the adapter is for another model"
            )
        shape, wanted = tensors.shape(name), (lora.b.shape[0], lora.a.shape[1])
        if shape != wanted:
            raise ModuleMismatchError(
                f"{adapter.name}: {layer} takes a weight of {wanted}, but {name} of {tensors.folder} has shape "
                f"{shape}; the adapter is for another model"
            )
        found[name] = lora
    return found


def warn_of_other_base(adapter: Adapter, base_model: str, task_type: str, where: str | Path) -> None:
    """Warns where the adapter says that it is for another model: names are free text, shapes are not."""
    if not may_be_same(adapter.base_model, base_model):
        warnings.warn(
            f"{adapter.name}: trained on {adapter.base_model!r}, says adapter_config.json, but {where} is "
            f"{base_model!r}",
            EdgeLorahubWarning,
            stacklevel=3,
        )
    if adapter.task_type not in (task_type, None):
        warnings.warn(
            f"{adapter.name}: its layers fit, but adapter_config.json does not say {task_type!r} (task_type)",
            EdgeLorahubWarning,
            stacklevel=3,
        )
