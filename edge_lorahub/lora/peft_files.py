"""A LoRA module on disk: a PEFT folder of adapter_config.json and the matrices."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from ..files.kinds import not_a_module
from ..files.reading import open_file
from ..files.user_path import user_path
from ..hub.resolve import module_folder
from ..tensors.safetensors_file import Float32, open_tensors
from ..tensors.torch_zip import read_state_dict
from .base_names import public_name
from .pair import Lora, identity
from .peft_config import CONFIG, LayerSettings, LoraConfig, read_lora_config
from .peft_keys import pairs_of

SAFETENSORS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"


@dataclass(frozen=True)
class Module:
    """A LoRA module: its settings read and its tensors checked against them, the tensors still on disk.

    shapes maps each linear layer to (r, d_in, d_out), scales to alpha / r. name is for the user's eyes; sha256 says
    which module it is, whatever its files are called (`lora.identity`).
    """

    name: str
    folder: Path
    config: LoraConfig
    file: Path
    sha256: str
    shapes: Mapping[str, tuple[int, int, int]]
    scales: Mapping[str, float]

    def loras(self) -> Iterator[tuple[str, Lora]]:
        """Reads the matrices: (linear layer, pair), in the order of `shapes`."""
        with _open(self.file) as tensors:
            yield from _read(self.file, tensors, pairs_of(self.file, tensors.names), self.scales)


def load_module(source: str | Path, *, name: str | None = None, revision: str | None = None) -> Module:
    """Reads a module's settings, and checks the shapes and the numbers of its tensors.

    source is a PEFT folder or a Hub id; the default name is the folder's (or the id). Raises ModuleFileError,
    MissingPathError or HubError. Warns about settings that are unknown here, or that change nothing.
    """
    folder = module_folder(source, revision)
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        # an adapter's sidecar could not name it
        raise ModuleFileError(f"{str(folder)!r}: a name that is not UTF-8; rename the folder") from None
    if not (folder / CONFIG).is_file():
        raise MissingPathError(not_a_module(folder))
    config = read_lora_config(folder)
    file = next((folder / f for f in (SAFETENSORS, PICKLED) if (folder / f).exists()), None)
    if file is None:
        raise MissingPathError(f"{folder}: neither {SAFETENSORS} nor {PICKLED} is there; is the module complete?")
    if name is None:
        name = folder.resolve().name if user_path(source).is_dir() else str(source)
    with _open(file) as tensors:
        pairs = pairs_of(file, tensors.names)
        layers = config.of_layers(pairs)
        shapes = _shapes(file, tensors, pairs, layers)
        scales = {layer: settings.scale for layer, settings in layers.items()}
        digest = identity(_read(file, tensors, pairs, scales))
    # last: with bias 'all' there may be a tensor that is refused
    for what, fields in (
        ("unknown settings are ignored", config.unknown_fields),
        ("settings that change nothing in a LoRA", config.idle_fields),
    ):
        if fields:
            warnings.warn(f"{config.path}: {what}: {', '.join(fields)}", EdgeLorahubWarning, stacklevel=2)
    return Module(name, folder, config, file, digest, shapes, scales)


def _shapes(
    file: Path, tensors: Any, pairs: Mapping[str, Mapping[str, str]], layers: Mapping[str, LayerSettings]
) -> dict[str, tuple[int, int, int]]:
    shapes = {}
    for layer, pair in pairs.items():
        if not layers[layer].targeted:
            raise ModuleFileError(
                f"{file}: tensor {pair['A']} is there, but {CONFIG} does not target that layer (target_modules, "
                "exclude_modules, layers_to_transform), so no version of peft reads it; mend the settings"
            )
        a, b = tensors.shape(pair["A"]), tensors.shape(pair["B"])
        rank = layers[layer].rank
        for key, shape, axis in ((pair["A"], a, 0), (pair["B"], b, 1)):
            if 0 in shape:
                raise ModuleFileError(
                    f"{file}: tensor {key} is empty, shape {shape}; DeepSpeed ZeRO-3 leaves such where the parameters "
                    "were not gathered before saving"
                )
            if len(shape) != 2 or shape[axis] != rank:
                raise ModuleFileError(
                    f"{file}: tensor {key} has shape {shape}, but {CONFIG} says rank {rank} (dimension {axis} of two)"
                )
        shapes[layer] = (rank, a[1], b[0])
    return shapes


def _read(
    file: Path, tensors: Any, pairs: Mapping[str, Mapping[str, str]], scales: Mapping[str, float]
) -> Iterator[tuple[str, Lora]]:
    for layer, pair in pairs.items():
        with np.errstate(over="ignore"):  # of float64, refused below
            lora = Lora(tensors.read(pair["A"]), tensors.read(pair["B"]), scales[layer])
        lora.check(*(f"{file}: tensor {pair[side]}" for side in "AB"))
        yield layer, lora


class _StateDict:
    """A state dict in memory, with the reading half of TensorFile."""

    def __init__(self, tensors: dict[str, Float32]) -> None:
        self._tensors = tensors
        self.names = list(tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def read(self, name: str) -> Float32:
        return self._tensors[name]


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    open_file(file, ModuleFileError).close()
    if file.name == PICKLED:
        yield _StateDict(read_state_dict(file))
    else:
        with open_tensors(file, ModuleFileError) as tensors:
            yield tensors


def write_peft(folder: Path, base_model: str, loras: Mapping[str, Lora], task_type: str | None) -> None:
    """Writes a PEFT folder that `peft.PeftModel.from_pretrained` loads, in every peft from 0.6 on.

    The scale of each pair goes into its B, so that lora_alpha = r everywhere. Of a base model that is a path the last
    part is written. task_type is one of `bundle.architectures.TASK_TYPES`, None: not known.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, Float32] = {}
    for layer, lora in loras.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = np.ascontiguousarray(lora.a)
        tensors[f"base_model.model.{layer}.lora_B.weight"] = np.ascontiguousarray(lora.scaled_b())
    ranks = {layer: lora.a.shape[0] for layer, lora in loras.items()}
    rank = max(ranks.values())
    # peft takes these for regular expressions since 0.15, and before then looked for the name itself as well: so the
    # dots, which match themselves, are not escaped
    pattern = {layer: r for layer, r in ranks.items() if r != rank}
    # what is false or empty is left out: an older peft refuses a field that it does not know, whatever its value
    settings = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": public_name(base_model),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": sorted(loras),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
    }
    (folder / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})
    # safetensors makes files that only their owner may read
    shutil.copymode(folder / CONFIG, folder / SAFETENSORS)
