"""adapter_config.json of a LoRA: what is supported, and what each linear layer gets.

The rules are peft's (0.21: `check_target_module_exists`, `get_pattern_key`, `LoraLayer.update_layer`). What
would change the result and is not supported is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ModuleFileError
from .files import read_json

CONFIG = "adapter_config.json"
TASK_TYPE = "SEQ_2_SEQ_LM"

# Fields that change what a module computes, in ways that are not supported, when they are not empty.
_REFUSED = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "modules_to_save",
    "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
    "megatron_config", "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
# Initialisations that also change the base model's weights: the module fits only that changed model.
_REFUSED_INIT = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Read here, or without influence on a finished module.
_KNOWN = frozenset((
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "rank_pattern", "alpha_pattern",
    "use_rslora", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "bias",
    "init_lora_weights", "auto_mapping", "revision", "inference_mode", "lora_dropout", "megatron_core",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size", "peft_version",
    "runtime_config", "ensure_weight_tying", *_REFUSED,
))  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """The fields of adapter_config.json that decide what a module computes."""

    path: Path
    base_model: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    use_rslora: bool
    target_modules: str | tuple[str, ...]
    exclude_modules: str | tuple[str, ...]
    layers_to_transform: tuple[int, ...]
    layers_pattern: tuple[str, ...]
    unknown_fields: tuple[str, ...]

    def rank_of(self, layer: str) -> int:
        """The rank r of a linear layer, by its full name."""
        return self.rank_pattern.get(_pattern_for(self.rank_pattern, layer), self.rank)

    def scale_of(self, layer: str) -> float:
        """s = alpha / r, and alpha / sqrt(r) for rank-stabilised LoRA (arXiv 2312.03732)."""
        alpha = self.alpha_pattern.get(_pattern_for(self.alpha_pattern, layer), self.alpha)
        rank = self.rank_of(layer)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def targets(self, layer: str) -> bool:
        """Whether peft would put the LoRA on that linear layer."""
        if self.exclude_modules and _matches(self.exclude_modules, layer):
            return False
        if self.target_modules == "all-linear":
            return True
        if not _matches(self.target_modules, layer):
            return False
        # peft: a pattern, and a layer that is named in full, are not narrowed down by layers_to_transform
        if not self.layers_to_transform or isinstance(self.target_modules, str) or layer in self.target_modules:
            return True
        patterns = [rf"(?:^|.*?\.){p}\.(\d+)\." for p in self.layers_pattern] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((match for p in patterns if (match := re.match(p, layer))), None)
        return found is not None and int(found[1]) in self.layers_to_transform


def read_lora_config(folder: Path) -> LoraConfig:
    """Reads and checks a module's adapter_config.json. Raises ModuleFileError or MissingPathError."""
    path = folder / CONFIG
    fields = read_json(path, ModuleFileError)
    _refuse(fields, path)
    alpha_pattern = _mapping(fields, "alpha_pattern", path)
    return LoraConfig(
        path=path,
        base_model=str(fields.get("base_model_name_or_path") or ""),
        rank=_rank(fields.get("r", 8), "r", path),
        alpha=_number(fields.get("lora_alpha", 8), "lora_alpha", path),
        rank_pattern={
            _regex(key, path): _rank(value, f"rank_pattern[{key!r}]", path)
            for key, value in _mapping(fields, "rank_pattern", path).items()
        },
        alpha_pattern={
            _regex(key, path): _number(value, f"alpha_pattern[{key!r}]", path) for key, value in alpha_pattern.items()
        },
        use_rslora=bool(fields.get("use_rslora")),
        target_modules=_names(fields, "target_modules", path),
        exclude_modules=_names(fields, "exclude_modules", path),
        layers_to_transform=_layers(fields, path),
        layers_pattern=tuple(_regex(p, path) for p in _name_list(fields, "layers_pattern", path)),
        unknown_fields=tuple(key for key, value in fields.items() if value and key not in _KNOWN),
    )


def _refuse(fields: dict[str, Any], path: Path) -> None:
    peft_type = fields.get("peft_type")
    if peft_type != "LORA":
        raise ModuleFileError(f"{path}: peft_type {peft_type!r} is not supported, only 'LORA'")
    task_type = fields.get("task_type")
    if task_type not in (TASK_TYPE, None):
        raise ModuleFileError(
            f"{path}: task_type {task_type!r} (base model {fields.get('base_model_name_or_path')!r}) is not "
            f"supported, only {TASK_TYPE!r}: a module for T5 or Flan-T5"
        )
    if fields.get("bias", "none") != "none":
        raise ModuleFileError(f"{path}: bias {fields['bias']!r} is not supported, only 'none'")
    for name in _REFUSED:
        if fields.get(name):
            raise ModuleFileError(f"{path}: {name} is not supported (it is {fields[name]!r})")
    init = fields.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_REFUSED_INIT):
        raise ModuleFileError(
            f"{path}: init_lora_weights {init!r} is not supported: it changes the base model's weights too; "
            "convert the module to a plain LoRA with peft"
        )


def _pattern_for(patterns: Mapping[str, Any], layer: str) -> str:
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", layer)), layer)


def _matches(names: str | tuple[str, ...], layer: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, layer) is not None
    return any(layer == name or layer.endswith(f".{name}") for name in names)


def _names(fields: dict[str, Any], key: str, path: Path) -> str | tuple[str, ...]:
    """A list of names, or one regular expression."""
    value = fields.get(key)
    return _regex(value, path) if isinstance(value, str) and value else _name_list(fields, key, path)


def _name_list(fields: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = fields.get(key) or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModuleFileError(f"{path}: {key} must be a list of names, got {value!r}")
    return tuple(names)


def _layers(fields: dict[str, Any], path: Path) -> tuple[int, ...]:
    value = fields.get("layers_to_transform")
    layers = [] if value is None else [value] if isinstance(value, int) else value
    if not isinstance(layers, list) or not all(isinstance(layer, int) for layer in layers):
        raise ModuleFileError(f"{path}: layers_to_transform must be numbers of layers, got {value!r}")
    return tuple(layers)


def _mapping(fields: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = fields.get(key) or {}
    if not isinstance(value, dict):
        raise ModuleFileError(f"{path}: {key} must be an object, got {value!r}")
    return value


def _regex(pattern: str, path: Path) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ModuleFileError(f"{path}: {pattern!r} is not a regular expression ({error})") from error
    return pattern


def _rank(value: Any, key: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModuleFileError(f"{path}: {key} must be a whole number of at least 1, got {value!r}")
    return value


def _number(value: Any, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModuleFileError(f"{path}: {key} must be a number, got {value!r}")
    return float(value)
