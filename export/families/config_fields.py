"""config.json, field by field: every value checked, and every field accounted for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.messages import some_of

from ..blocks.activations import ACTIVATIONS
from ..source.json_fields import flag, whole

# Fields that do not change what a model computes for given tokens: of training, of generation, of the library.
_IDLE = frozenset(
    {
        "_attn_implementation_autoset", "_commit_hash", "_flash_attn_2_enabled", "_name_or_path", "architectures",
        "attention_dropout", "attention_probs_dropout_prob", "bos_token_id", "cache_implementation",
        "chunk_size_feed_forward", "classifier_dropout", "diversity_penalty", "do_sample", "dtype",
        "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id", "finetuning_task",
        "forced_bos_token_id", "forced_eos_token_id", "hidden_dropout", "hidden_dropout_prob", "id2label",
        "initializer_range", "is_decoder", "is_encoder_decoder", "label2id", "length_penalty", "max_length",
        "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
        "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix", "pretraining_tp",
        "problem_type", "repetition_penalty", "resid_pdrop", "return_dict", "return_dict_in_generate",
        "sep_token_id", "task_specific_params", "temperature", "tokenizer_class", "top_k", "top_p", "torch_dtype",
        "torchscript", "transformers.js_config", "transformers_version", "typical_p", "unsloth_fixed",
        "unsloth_version", "use_bfloat16", "use_cache", "use_flash_attn",
    }
)  # fmt: skip
_LEAST = 1e-30
_NOTHING: tuple[Any, ...] = (None, False, (), [], {}, "")


class ConfigFields:
    """The fields of one config.json. A field that is absent or null has the default, as in transformers' class.

    Every method raises CheckpointError, naming file and key.
    """

    def __init__(self, fields: Mapping[str, Any], path: Path) -> None:
        self.path = path
        self._fields = fields
        self._known = set(_IDLE)

    def value(self, key: str) -> Any:
        """A field as it is; None where it is absent."""
        self._known.add(key)
        return self._fields.get(key)

    def is_null(self, key: str) -> bool:
        """Whether the field is there and null, which at times means something else than its absence."""
        self._known.add(key)
        return key in self._fields and self._fields[key] is None

    def whole(self, key: str, default: int | None = None, *, least: int = 1, most: int | None = None) -> int:
        self._known.add(key)
        value = whole(self._fields, key, self.path, default, least)
        if most is not None and value > most:
            raise self.error(f"{key} must be at most {most}, got {value}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        self._known.add(key)
        found = flag(self._fields, key, self.path, default)
        assert found is not None
        return found

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.value(key)
        return positive(default if value is None else value, key, self.path)

    def activation(self, key: str, default: str) -> str:
        value = self.value(key)
        value = default if value is None else value
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise CheckpointError(
                f"{self.path}: the activation {value!r:.80} of {key} is not supported, only {', '.join(ACTIVATIONS)}"
            )
        return value

    def optional_number(self, key: str) -> float | None:
        """A positive number, or None."""
        return None if self.value(key) is None else self.number(key)

    def layer_kinds(self, layers: int, known: Sequence[str]) -> list[str] | None:
        """layer_types: one of the known kinds for each layer; None where it is absent."""
        value = self.value("layer_types")
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers:
            raise self.error(f"layer_types must be a list of {layers} kinds of layers, got {value!r:.80}")
        for kind in value:
            if kind not in known:
                raise self.error(f"layer_types has {kind!r:.40}, which is not supported, only {' and '.join(known)}")
        return list(value)

    def error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {message}")

    def refuse_biases(self, *keys: str) -> None:
        """Refuses biases where transformers' class has none."""
        for key in keys:
            self.refuse(key, f"{self.value('model_type')} has no such biases in transformers")

    def refuse(self, key: str, why: str, idle: Sequence[Any] = _NOTHING) -> None:
        """Refuses a field whose value is none of `idle`, with which it changes nothing."""
        value = self.value(key)
        if value is None or _is_one_of(value, idle):
            return
        raise self.error(f"{key} {value!r:.80} is not supported: {why}")

    def warn_of_unknown(self) -> None:
        """Warns of the fields that nobody asked for, other than those that say nothing."""
        unknown = [
            key for key, value in self._fields.items() if key not in self._known and not _is_one_of(value, _NOTHING)
        ]
        if unknown:
            warnings.warn(
                f"{self.path}: {some_of([f'{key} ({self._fields[key]!r:.40})' for key in unknown])}: not known to "
                "edge-lorahub, and not used; compare the export with transformers if it changes what the model "
                "computes",
                EdgeLorahubWarning,
                stacklevel=4,
            )


def positive(value: Any, key: str, path: Path) -> float:
    """A positive number, as a float; of a size that float32 has steps for."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _LEAST <= value <= 1 / _LEAST:
        raise CheckpointError(
            f"{path}: {key} must be a positive number from {_LEAST:g} to {1 / _LEAST:g}, got {value!r:.80}"
        )
    return float(value)


def _is_one_of(value: Any, known: Sequence[Any]) -> bool:
    """Whether a value of JSON is among others; 0 and 1 are no truth values, though Python calls them equal."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in known)
