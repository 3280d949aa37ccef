"""The names of tensors in a PEFT file: which linear layer's A or B each of them is.

peft writes `base_model.model.LAYER.lora_A.weight`. A model that was wrapped when it was saved has its wrapper's names
in the path as well, and in a model that is not wrapped peft finds none of the tensors; here they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..bundle.architectures import ROOTS
from ..errors import ModuleFileError
from .foreign_names import foreign

# Names that only wrappers give, wherever in a path they stand: torch.compile, FSDP, activation checkpointing, Fabric.
_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
# DataParallel, DistributedDataParallel and DeepSpeed, at the front of a path.
_OUTER = "module"
_PEFT = ["base_model", "model"]
# More than any model's: T5 with the most layers has about 500 linear ones.
MOST_TENSORS = 10_000
LONGEST_NAME = 500
WRAPPERS = frozenset({*_INNER, _OUTER})
_KEY = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")


def pairs_of(file: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The tensors' names by linear layer and side: {layer: {"A": name, "B": name}}.

    file is for the messages. Raises ModuleFileError for what is not the A or B of a linear layer's LoRA, and where two
    tensors are of the same one.
    """
    found = []
    names = list(names)
    if len(names) > MOST_TENSORS:
        raise ModuleFileError(f"{file}: {len(names)} tensors; a LoRA module has two for each linear layer")
    for name in names:
        if len(name) > LONGEST_NAME:
            raise ModuleFileError(f"{file}: a tensor's name of {len(name)} characters; no layer is called so")
        match = _KEY.fullmatch(".".join(part for part in name.split(".") if part not in _INNER))
        if match is None:
            raise ModuleFileError(f"{file}: tensor {name} is not supported: {_what(name)}")
        found.append((name, _layer(file, name, match["path"]), match["side"], str(match["adapter"])))
    if not found:
        raise ModuleFileError(f"{file}: no tensors in it")
    if len(adapters := {adapter for *_, adapter in found}) > 1:
        raise ModuleFileError(f"{file}: tensors of several adapters ({', '.join(sorted(adapters)):.200})")
    pairs: dict[str, dict[str, str]] = {}
    for name, layer, side, _ in found:
        other = pairs.setdefault(layer, {}).setdefault(side, name)
        if other != name:
            raise ModuleFileError(f"{file}: tensors {other} and {name} are of the same layer; keep one of them")
    for layer, pair in pairs.items():
        if len(pair) == 1:
            raise ModuleFileError(f"{file}: {layer} has lora_{next(iter(pair))} only; is the file complete?")
    return pairs


def _layer(file: Path, name: str, path: str) -> str:
    """The linear layer's name: a path without peft's own prefix, however often it is there, and without wrappers."""
    parts = path.split(".")
    starts = [i for i in range(len(parts)) if parts[i : i + 2] == _PEFT]
    if starts:
        before = [part for part in parts[: starts[-1]] if part not in (*_PEFT, _OUTER)]
        if before:
            raise ModuleFileError(
                f"{file}: tensor {name} is not supported: {'.'.join(before)!r} before base_model.model is not of peft, "
                "but of a model around it; save the adapter of the inner model, with its save_pretrained"
            )
        parts = parts[starts[-1] + 2 :]
    while parts[:1] == [_OUTER]:
        del parts[0]
    # half of the prefix, as those leave it who rename tensors; but other models' own names begin with "model"
    if parts[:1] == _PEFT[:1] or (parts[:1] == _PEFT[1:] and tuple(parts[1:3]) in ROOTS):
        del parts[0]
    if not parts:
        raise ModuleFileError(f"{file}: tensor {name} is not supported: it names no layer")
    return ".".join(parts)


def _what(name: str) -> str:
    """What a tensor is that is no A or B."""
    if "lora_magnitude_vector" in name:
        return "DoRA"
    if "flat_param" in name:
        return "parameters that FSDP joined; save the adapter from its full state dict"
    if name.endswith("relative_attention_bias.weight"):
        return (
            "the base model's own position bias, which older versions of peft train and save with bias 'all'; "
            "train the module with bias 'none'"
        )
    return foreign(name) or "not the A or B of a linear layer's LoRA"
