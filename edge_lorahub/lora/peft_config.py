"""adapter_config.json of a LoRA: what is supported, and what each linear layer gets.

The rules are peft's (0.21: `check_target_module_exists`, `get_pattern_key`, `LoraLayer.update_layer`). What
would change the result and is not supported is refused by name; what says something and changes nothing is named too.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.architectures import TASK_TYPES
from ..errors import ModuleFileError
from ..files.outputs import read_json
from .layer_patterns import Endings, check_patterns, is_plain, whole
from .name_patterns import Budget, Name
from .peft_keys import WRAPPERS

CONFIG = "adapter_config.json"

# Fields that change what a module computes, in ways that are not supported, when they are not empty.
_REFUSED = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save",
    "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
    "megatron_config", "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
# Initializations that also change the base model's weights: the module fits only that changed model.
_REFUSED_INIT = ("pissa", "olora", "corda", "loftq", "lora_ga")
# What peft targets where target_modules is null (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING): q and v in T5 and
# mT5, q_proj and v_proj in Llama and its relatives. No model has layers of both names.
_DEFAULT_TARGETS = frozenset(("q", "v", "q_proj", "v_proj"))
_ALL_LINEAR = "all-linear"
_MOST_LISTS = 16
_LARGEST_RANK = 1 << 31
# Of a layer's number within a name.
_MOST_DIGITS = 18
# Read here, or without influence on a finished module.
_KNOWN = frozenset((
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "rank_pattern", "alpha_pattern",
    "use_rslora", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "bias",
    "fan_in_fan_out", "init_lora_weights", "auto_mapping", "revision", "inference_mode", "lora_dropout",
    "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size",
    "peft_version", "runtime_config", "ensure_weight_tying", *_REFUSED,
))  # fmt: skip


@dataclass(frozen=True)
class LayerSettings:
    """Of one linear layer: whether peft would put the LoRA on it, its rank r, and s = alpha / r."""

    targeted: bool
    rank: int
    scale: float


@dataclass(frozen=True)
class LoraConfig:
    """The fields of adapter_config.json that decide what a module computes.

    task_type is one of `bundle.architectures.TASK_TYPES`, None where it says nothing or another. unknown_fields are
    names, idle_fields descriptions of fields that say something and change nothing.
    """

    path: Path
    base_model: str
    task_type: str | None
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    use_rslora: bool
    target_modules: str | frozenset[str]
    exclude_modules: str | frozenset[str]
    layers_to_transform: frozenset[int]
    layers_pattern: tuple[str, ...]
    unknown_fields: tuple[str, ...]
    idle_fields: tuple[str, ...]

    def of_layers(self, layers: Iterable[str]) -> dict[str, LayerSettings]:
        """What each linear layer gets, by its full name. Raises ModuleFileError where the patterns take too long."""
        budget = Budget(self.path)
        ranks, alphas = Endings(self.rank_pattern, self.path), Endings(self.alpha_pattern, self.path)
        is_target, is_excluded = self._named(self.target_modules), self._named(self.exclude_modules)
        every_layer = self.target_modules == _ALL_LINEAR
        found = {}
        for layer in layers:
            name = Name(layer, budget)
            # peft looks for the layer's own name where no pattern matches
            rank = self.rank_pattern.get(ranks.first(name) or layer, self.rank)
            alpha = self.alpha_pattern.get(alphas.first(name) or layer, self.alpha)
            targeted = not is_excluded(name) and (every_layer or (is_target(name) and self._is_in_layers(name)))
            # alpha / sqrt(r) for rank-stabilized LoRA (arXiv 2312.03732)
            found[layer] = LayerSettings(targeted, rank, alpha / (math.sqrt(rank) if self.use_rslora else rank))
        return found

    def _is_in_layers(self, name: Name) -> bool:
        """Whether layers_to_transform leaves a layer, in peft's newest version or in one of the older ones.

        Those took the last number in a name, where the newest takes the first. The tensors of a module that one of
        them trained are right.
        """
        layer = name.text
        # peft: a pattern, and a layer that is named in full, are not narrowed down by layers_to_transform
        if not self.layers_to_transform or isinstance(self.target_modules, str) or layer in self.target_modules:
            return True
        for before, lists in ((r"(?:^|.*?\.)", r".*?\.[^.]*"), (r".*\.", r".*\.[^.]*")):
            patterns = [before + p for p in self.layers_pattern] or [lists]
            name.spend(len(patterns) * name.end // 8)
            patterns = [rf"{p}\.(\d{{1,{_MOST_DIGITS}}})\." for p in patterns]
            found = next((match for p in patterns if (match := re.match(p, layer))), None)
            if found is not None and int(found[1]) in self.layers_to_transform:
                return True
        return False

    def _named(self, names: str | frozenset[str]) -> Callable[[Name], bool]:
        """Whether a layer is one of those that target_modules or exclude_modules names."""
        if isinstance(names, str):
            return whole(names, self.path)

        def is_one(name: Name) -> bool:
            parts = name.text.split(".")
            return any(".".join(parts[start:]) in names for start in range(len(parts)))

        return is_one


def read_lora_config(folder: Path) -> LoraConfig:
    """Reads and checks a module's adapter_config.json. Raises ModuleFileError or MissingPathError."""
    path = folder / CONFIG
    fields = read_json(path, ModuleFileError)
    _refuse(fields, path)
    targets, excluded = (_names(fields, key, path) for key in ("target_modules", "exclude_modules"))
    rank_pattern, alpha_pattern = (_mapping(fields, key, path) for key in ("rank_pattern", "alpha_pattern"))
    written = [names for names in (targets, excluded) if isinstance(names, str) and names != _ALL_LINEAR]
    layers_pattern = _name_list(fields, "layers_pattern", path)
    patterns = list(dict.fromkeys([*written, *rank_pattern, *alpha_pattern, *layers_pattern]))
    for pattern in patterns:
        _refuse_wrappers(pattern, path)
    check_patterns(patterns, path)
    return LoraConfig(
        path=path,
        base_model=str(fields.get("base_model_name_or_path") or ""),
        task_type=next((known for known in TASK_TYPES.values() if known == fields.get("task_type")), None),
        rank=_rank(fields.get("r", 8), "r", path),
        alpha=_number(fields.get("lora_alpha", 8), "lora_alpha", path),
        rank_pattern={key: _rank(value, f"rank_pattern[{key!r:.80}]", path) for key, value in rank_pattern.items()},
        alpha_pattern={
            key: _number(value, f"alpha_pattern[{key!r:.80}]", path) for key, value in alpha_pattern.items()
        },
        use_rslora=bool(fields.get("use_rslora")),
        target_modules=_DEFAULT_TARGETS if fields.get("target_modules") is None else targets,
        exclude_modules=excluded,
        layers_to_transform=_layers(fields, path),
        layers_pattern=_layers_pattern(layers_pattern, path),
        unknown_fields=tuple(key for key, value in fields.items() if value and key not in _KNOWN),
        idle_fields=tuple(_idle(fields)),
    )


def _refuse(fields: dict[str, Any], path: Path) -> None:
    peft_type = fields.get("peft_type")
    if peft_type != "LORA":
        raise ModuleFileError(f"{path}: peft_type {peft_type!r:.80} is not supported, only 'LORA'")
    bias = fields.get("bias", "none")
    if not isinstance(bias, str) or not (bias in ("none", "all") or bias.endswith("_only")):
        raise ModuleFileError(f"{path}: bias {bias!r:.80} is unknown; it is 'none' where only a LoRA was trained")
    for name in _REFUSED:
        if fields.get(name):
            raise ModuleFileError(f"{path}: {name} is not supported (it is {fields[name]!r:.80})")
    init = fields.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_REFUSED_INIT):
        raise ModuleFileError(
            f"{path}: init_lora_weights {init!r:.80} is not supported: it changes the base model's weights too; "
            "convert the module to a plain LoRA with peft"
        )


def _idle(fields: dict[str, Any]) -> Iterator[str]:
    task_type = fields.get("task_type")
    if task_type not in (*TASK_TYPES.values(), None):
        yield f"task_type {task_type!r:.80} (not {' or '.join(map(repr, TASK_TYPES.values()))})"
    if fields.get("bias", "none") != "none":
        yield f"bias {fields['bias']!r:.80} (no bias is in the file)"
    if fields.get("fan_in_fan_out"):
        yield f"fan_in_fan_out {fields['fan_in_fan_out']!r:.80} (for layers of another kind)"


def _names(fields: dict[str, Any], key: str, path: Path) -> str | frozenset[str]:
    """A list of names, or one regular expression."""
    value = fields.get(key)
    if isinstance(value, str) and value.lower() == _ALL_LINEAR:
        return _ALL_LINEAR
    if isinstance(value, str) and value:
        return value
    return frozenset(_name_list(fields, key, path))


def _name_list(fields: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = fields.get(key) or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModuleFileError(f"{path}: {key} must be a list of names, got {value!r:.80}")
    for name in names:
        _refuse_wrappers(name, path)
    return tuple(names)


def _refuse_wrappers(name: str, path: Path) -> None:
    """Layers lose their wrappers' names when the tensors are read, so these would match none of them."""
    if found := WRAPPERS.intersection(re.findall(r"\w+", name)):
        raise ModuleFileError(
            f"{path}: {name!r:.80} names the wrapper {min(found)!r}; save the adapter of the model inside it"
        )


def _layers(fields: dict[str, Any], path: Path) -> frozenset[int]:
    value = fields.get("layers_to_transform")
    layers = [] if value is None else [value] if isinstance(value, int) else value
    if not isinstance(layers, list) or not all(isinstance(layer, int) for layer in layers):
        raise ModuleFileError(f"{path}: layers_to_transform must be numbers of layers, got {value!r:.80}")
    return frozenset(layers)


def _mapping(fields: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = fields.get(key) or {}
    if not isinstance(value, dict):
        raise ModuleFileError(f"{path}: {key} must be an object, got {value!r:.80}")
    return value


def _layers_pattern(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Names of lists of layers. peft takes them for regular expressions too, and nobody writes more than a name."""
    for name in names:
        if not is_plain(name):
            raise ModuleFileError(f"{path}: layers_pattern {name!r:.80} is not supported: a pattern, not a plain name")
    if len(names) > _MOST_LISTS:
        raise ModuleFileError(f"{path}: layers_pattern has {len(names)} names; no model has so many lists of layers")
    return names


def _rank(value: Any, key: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModuleFileError(f"{path}: {key} must be a whole number of at least 1, got {value!r:.80}")
    if value > _LARGEST_RANK:  # JSON's may be larger than any float
        raise ModuleFileError(f"{path}: {key} is {str(value)[:40]}, more than any matrix has rows")
    return value


def _number(value: Any, key: str, path: Path) -> float:
    # a whole number of JSON's may be larger than any float
    right = not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    if not right:
        raise ModuleFileError(f"{path}: {key} must be a number, got {value!r:.80}")
    return float(value)
