"""The special tokens of a checkpoint: generation_config.json says them, and config.json where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.files.outputs import read_json

from .json_fields import whole

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
# Settings that change what transformers' generate answers, and the values with which they change nothing beside those
# that say nothing.
_OTHER_DECODING: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0,),
    "penalty_alpha": (0,),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_length": (20,),  # transformers' default, which it takes for none
    "max_new_tokens": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "bad_words_ids": (),
    "force_words_ids": (),
    "constraints": (),
    "sequence_bias": (),
    "forced_decoder_ids": (),
    "exponential_decay_length_penalty": (),
    "stop_strings": (),
    "watermarking_config": (),
    "dola_layers": (),
}
# All others that generation_config.json may have: tokens that are read here, what only sampling or beams look at, how
# fast transformers is, and what it gives back.
_READ_OR_IDLE = frozenset(
    {
        "decoder_start_token_id", "pad_token_id", "eos_token_id", "bos_token_id", "forced_bos_token_id",
        "forced_eos_token_id", "temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff",
        "eta_cutoff", "renormalize_logits", "early_stopping", "length_penalty", "use_cache", "cache_implementation",
        "cache_config", "return_legacy_cache", "prefill_chunk_size", "low_memory", "disable_compile", "compile_config",
        "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
        "assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "prompt_lookup_num_tokens",
        "max_matching_ngram_size", "remove_invalid_values", "output_attentions", "output_hidden_states",
        "output_scores",
        "output_logits", "return_dict_in_generate", "_from_model_config", "_commit_hash", "transformers_version",
        "transformers.js_config", "assistant_ensemble_weight", "continuous_batching_config", "max_cache_len",
        "speculation_type", "use_mtp",
    }
)  # fmt: skip
# Settings that config.json may have as well.
DECODING = (*_OTHER_DECODING, *_READ_OR_IDLE)
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids. end_token_ids: each ends an answer. forced_*: the first and the last token of every answer, if any.

    decoder_start_token_id begins every answer; None: the prompt does.
    """

    decoder_start_token_id: int | None
    pad_token_id: int
    end_token_ids: tuple[int, ...]
    forced_bos_token_id: int | None
    forced_eos_token_id: int | None


def token_files(folder: Path) -> dict[Path, dict[str, Any]]:
    """The files of a checkpoint that name special tokens, the one that goes first at the front."""
    paths = [folder / name for name in (GENERATION_CONFIG, CONFIG) if name == CONFIG or (folder / name).exists()]
    return {path: read_json(path, CheckpointError) for path in paths}


class _TokenFields:
    """What files say of special tokens: the first that says something is right."""

    def __init__(self, files: Mapping[Path, Mapping[str, Any]], vocab_size: int) -> None:
        """Warns of what the first one asks for beyond greedy decoding."""
        self._files, self._vocab_size = files, vocab_size
        _warn_of_other_decoding(*next(iter(files.items())))

    def ids(self, key: str) -> tuple[int, ...]:
        """Raises CheckpointError for ids that are none."""
        said = [(path, fields[key]) for path, fields in self._files.items() if fields.get(key) is not None]
        if not said:
            return ()
        (path, value), *others = said
        found = _ids(value, key, path, self._vocab_size)
        if key == "decoder_start_token_id" and any(other != value for _, other in others):
            warnings.warn(
                f"{path}: {key} is {value!r:.40}, and {others[0][1]!r:.40} in {CONFIG}; the former is used, for losses "
                "too",
                EdgeLorahubWarning,
                stacklevel=5,
            )
        return found

    def single(self, key: str) -> int | None:
        found = self.ids(key)
        return found[0] if found else None

    def forced(self) -> tuple[int | None, int | None]:
        """The first and the last token of every answer."""
        # transformers sets the scores of several to the same number, of which argmax takes the first
        return self.single("forced_bos_token_id"), min(self.ids("forced_eos_token_id"), default=None)


def read_special_tokens(files: Mapping[Path, Mapping[str, Any]], vocab_size: int) -> SpecialTokens:
    """Those of an encoder-decoder; warns of what generation_config.json asks for beyond greedy decoding.

    Raises CheckpointError for ids that are none.
    """
    fields = _TokenFields(files, vocab_size)
    pad = fields.single("pad_token_id")
    pad = 0 if pad is None else pad
    start = fields.single("decoder_start_token_id")
    if start is None:
        start = fields.single("bos_token_id")  # as transformers' generate does it
    if start is None:
        folder = next(iter(files)).parent
        warnings.warn(
            f"{folder}: neither {GENERATION_CONFIG} nor {CONFIG} has a decoder_start_token_id; its padding token "
            f"({pad}) is used, as with T5",
            EdgeLorahubWarning,
            stacklevel=2,
        )
        start = pad
    return SpecialTokens(start, pad, fields.ids("eos_token_id") or (1,), *fields.forced())


def read_decoder_tokens(files: Mapping[Path, Mapping[str, Any]], vocab_size: int) -> SpecialTokens:
    """Those of a decoder-only model, whose padding is never looked at; warns as `read_special_tokens` does.

    Raises CheckpointError for ids that are none, and where no token ends an answer.
    """
    # some checkpoints say -1 for none
    without = {
        path: {key: value for key, value in found.items() if not (key == "pad_token_id" and value == -1)}
        for path, found in files.items()
    }
    fields = _TokenFields(without, vocab_size)
    ends = fields.ids("eos_token_id")
    if not ends:
        path = list(files)[-1]
        raise CheckpointError(f"{path}: no eos_token_id, so nothing would end an answer; write it there")
    pad = fields.single("pad_token_id")
    return SpecialTokens(None, ends[0] if pad is None else pad, ends, *fields.forced())


def _ids(value: Any, key: str, path: Path, vocab_size: int) -> tuple[int, ...]:
    """One id or a list of them."""
    if key == "eos_token_id" and value == []:
        raise CheckpointError(
            f"{path}: {key} is an empty list, so nothing would end an answer; write the end token there"
        )
    if key.endswith("eos_token_id") and isinstance(value, list):
        found = tuple(whole({key: one}, key, path, least=0) for one in value)
    else:
        found = (whole({key: value}, key, path, least=0),)
    if outside := [one for one in found if one >= vocab_size]:
        raise CheckpointError(f"{path}: {key} is {outside[0]}, but the model's vocab_size is {vocab_size}")
    return found


def _warn_of_other_decoding(path: Path, fields: Mapping[str, Any]) -> None:
    # config.json has the model's fields beside them
    keys = [key for key in fields if key in _OTHER_DECODING or path.name != CONFIG]
    asked = [
        f"{key} {fields[key]!r:.40}"
        for key in keys
        if key not in _READ_OR_IDLE and not _is_one_of(fields[key], (*_NOTHING, *_OTHER_DECODING.get(key, ())))
    ]
    if asked:
        warnings.warn(
            f"{path}: {', '.join(asked)}: not used, as answers are decoded greedily without; transformers' answers "
            "with these settings are others",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def _is_one_of(value: Any, known: tuple[Any, ...]) -> bool:
    """Whether a value of JSON is among others; 0 is not false, though Python calls them equal."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in known)
