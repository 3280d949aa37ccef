"""Small decoder-only checkpoints with seeded random weights, made without torch, and their bundles.

The names and shapes of the tensors are written down here, and not asked of the exporter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import processors

from edge_lorahub import Model, load
from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.bundle.manifest import Slot
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.export.blocks.decoder_config import DecoderConfig
from edge_lorahub.export.families import find_family
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.decoder_only.packing import Text
from edge_lorahub.runtime.decoder_only.text_decoding import TextDecoding
from edge_lorahub.runtime.kv_cache import KeyValueCache
from edge_lorahub.runtime.opened import EncodedTask
from edge_lorahub.runtime.scoring import Batches, Losses, Scorer
from edge_lorahub.testing.random_models import word_tokenizer

Float32 = NDArray[np.float32]
Ids = NDArray[np.int64]

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_TINY = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 16,
}  # fmt: skip
# Every family, with what sets it apart from Llama; some twice.
TINY: Mapping[str, dict[str, Any]] = {
    "llama": _TINY | {"model_type": "llama", "tie_word_embeddings": False},
    "llama-3": _TINY
    | {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "llama-biases": _TINY
    | {
        "model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False,
        "num_key_value_heads": 1, "rope_scaling": {"type": "linear", "factor": 4.0},
    },
    "mistral": _TINY | {"model_type": "mistral", "sliding_window": 16, "tie_word_embeddings": False},
    "qwen2": _TINY | {"model_type": "qwen2", "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen2-windows": _TINY
    | {
        "model_type": "qwen2", "tie_word_embeddings": False, "use_sliding_window": True, "sliding_window": 20,
        "max_window_layers": 1,
    },
    "qwen3": _TINY | {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 32, "rope_theta": 1e6},
    "gemma": _TINY
    | {"model_type": "gemma", "head_dim": 32, "num_key_value_heads": 1, "hidden_act": "gelu_pytorch_tanh"},
    "gemma2": _TINY
    | {
        "model_type": "gemma2", "head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 16,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0,
    },
    "gemma3": _TINY
    | {
        "model_type": "gemma3_text", "head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "rope_theta": 1e6,
        "rope_local_base_freq": 1e4, "final_logit_softcapping": 7.0,
    },
    "granite": _TINY
    | {
        "model_type": "granite", "embedding_multiplier": 6.0, "attention_multiplier": 0.1, "residual_multiplier": 0.4,
        "logits_scaling": 4.0, "tie_word_embeddings": True,
    },
}  # fmt: skip
# The first onnxruntime that is right, where 1.23 is not.
LEAST = {"mistral": (1, 24), "qwen2-windows": (1, 24), "gemma3": (1, 24), "gemma2": (1, 27)}


def sides(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(d_in, d_out) of every kind of linear layer."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim") or width // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    return {
        "q_proj": (width, queries), "k_proj": (width, keys), "v_proj": (width, keys), "o_proj": (queries, width),
        "gate_proj": (width, inner), "up_proj": (width, inner), "down_proj": (inner, width),
    }  # fmt: skip


def layer_name(layer: int, kind: str) -> str:
    """The path of a linear layer."""
    block = "self_attn" if kind[0] in "qkvo" else "mlp"
    return f"model.layers.{layer}.{block}.{kind}"


def _vectors(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Names and sizes of norms and biases."""
    family, width = config["model_type"], config["hidden_size"]
    size = config.get("head_dim") or width // config["num_attention_heads"]
    norms = ["input_layernorm", "post_attention_layernorm"]
    if family in ("gemma2", "gemma3_text"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    biased = ["q_proj", "k_proj", "v_proj"] if family == "qwen2" else []
    if config.get("attention_bias"):
        biased = ["q_proj", "k_proj", "v_proj", "o_proj"]
    if config.get("mlp_bias"):
        biased += ["gate_proj", "up_proj", "down_proj"]
    yield "model.norm.weight", width
    for layer in range(config["num_hidden_layers"]):
        for norm in norms:
            yield f"model.layers.{layer}.{norm}.weight", width
        if family in ("qwen3", "gemma3_text"):
            for part in "qk":
                yield f"model.layers.{layer}.self_attn.{part}_norm.weight", size
        for kind in biased:
            yield f"{layer_name(layer, kind)}.bias", sides(config)[kind][1]


def random_tensors(config: Mapping[str, Any], seed: int = 0, gain: float = 1.5) -> dict[str, Float32]:
    """All tensors of a checkpoint. Norms and biases do something, and attention is not even.

    gain: how much larger a linear layer's outputs are than its inputs.
    """
    rng = np.random.default_rng(seed)
    family, width = config["model_type"], config["hidden_size"]
    tied = config.get("tie_word_embeddings", family.startswith("gemma"))
    # what the layers add must outweigh the token itself, or tied models repeat it for ever
    scale = width**0.5 if family.startswith("gemma") else config.get("embedding_multiplier", 1)
    embedding = rng.standard_normal((config["vocab_size"], width), np.float32) * np.float32(0.3 / scale)
    tensors = {"model.embed_tokens.weight": embedding}
    if not tied:
        tensors["lm_head.weight"] = rng.standard_normal((config["vocab_size"], width), np.float32) * 0.3
    for name, size in _vectors(config):
        center = 0 if name.endswith("bias") or family.startswith("gemma") else 1
        tensors[name] = (center + 0.2 * rng.standard_normal(size)).astype(np.float32)
    for layer in range(config["num_hidden_layers"]):
        for kind, (d_in, d_out) in sides(config).items():
            scale = np.float32(gain * d_in**-0.5)
            tensors[f"{layer_name(layer, kind)}.weight"] = rng.standard_normal((d_out, d_in), np.float32) * scale
    return tensors


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    seed: int = 0,
    *,
    bfloat16: bool = False,
    prefix: bool = True,
    gain: float = 1.5,
) -> Path:
    """prefix False: as saved without the head, names without `model.`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors: dict[str, Any] = dict(random_tensors(config, seed, gain))
    if bfloat16:
        tensors = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    if not prefix:
        tensors = {name.removeprefix("model."): array for name, array in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def complete(checkpoint: Path) -> None:
    """Gives a checkpoint's folder a tokenizer of words, w3 to the last, and an end token, where it has none."""
    fields = json.loads((checkpoint / "config.json").read_text())
    if not (checkpoint / "tokenizer.json").exists():
        tokenizer = word_tokenizer(fields["vocab_size"])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
        tokenizer.save(str(checkpoint / "tokenizer.json"))
    if fields.get("eos_token_id") is None:
        (checkpoint / "config.json").write_text(json.dumps(fields | {"eos_token_id": 1}))


@dataclass(frozen=True)
class Exported:
    """A bundle, used in one of its variants. unused: the checkpoint's tensors that nothing read."""

    model: Model
    lora_type: str
    config: DecoderConfig
    unused: list[str]

    @property
    def out(self) -> Path:
        return self.model.folder

    @property
    def slots(self) -> tuple[Slot, ...]:
        return () if self.lora_type == "none" else self.model.manifest.slots

    def runner(self, role: str, lora: Mapping[str, NDArray[Any]]) -> Runner:
        unused = plain_inputs(())
        inputs = LoraInputs(unused._stack, dict(lora), np.empty(0, np.float32), self.lora_type)
        return Runner(self.model, role, inputs)

    def logits(
        self, texts: Sequence[Text], lora: Mapping[str, NDArray[Any]], batch_tokens: int = 10**9
    ) -> list[Float32]:
        """The logits that predict each text's label tokens, in the order of the texts."""
        runner, architecture = self.runner("score", lora), self.model.architecture
        batches = architecture.batches(self.model.tokens, task_of(texts), range(len(texts)), batch_tokens)
        found: dict[int, Float32] = {}
        for batch, scoring in zip(batches, architecture.scorings(runner, batches), strict=True):
            found |= dict(zip(batch.members, [rows.copy() for rows in scoring.run()], strict=True))
        return [found[i] for i in range(len(texts))]

    def losses(self, texts: Sequence[Text], lora: Mapping[str, NDArray[Any]], batch_tokens: int = 10**9) -> Losses:
        batches = Batches(self.model.bundle, task_of(texts), batch_tokens)
        return Scorer(self.runner("score", lora), batches).losses()

    def decoding(
        self,
        lora: Mapping[str, NDArray[Any]],
        prompts: Sequence[Ids],
        cache: KeyValueCache | None = None,
    ) -> TextDecoding:
        cache = cache or KeyValueCache(self.model.manifest.model)
        return TextDecoding(self.runner("generate", lora), prompts, cache)

    def greedy(
        self,
        lora: Mapping[str, NDArray[Any]],
        prompts: Sequence[Ids],
        count: int,
        ends: Sequence[int] = (),
        cache: KeyValueCache | None = None,
    ) -> list[Ids]:
        """So many tokens after each prompt, up to and without the first end token."""
        decoding = self.decoding(lora, prompts, cache)
        rows = [decoding.start().argmax(axis=1)]
        running = ~np.isin(rows[0], ends)
        for _ in range(count - 1):
            rows.append(decoding.step(rows[-1], running).argmax(axis=1))
            running &= ~np.isin(rows[-1], ends)
        answers = []
        for row in np.stack(rows, axis=1):
            stops = np.flatnonzero(np.isin(row, ends))
            answers.append(row[: stops[0]] if len(stops) else row)
        return answers


def task_of(texts: Sequence[Text]) -> EncodedTask:
    return EncodedTask([text.ids[: text.start] for text in texts], [text.ids[text.start :] for text in texts])


def export_decoder(
    checkpoint: Path, out: Path, *, precision: str = "fp32", lora: str = "float32", kinds: Sequence[str] = KINDS
) -> Exported:
    """Exports a checkpoint, and loads the bundle; `complete` first. lora: the variant that is used."""
    complete(checkpoint)
    path = checkpoint / "config.json"
    fields = json.loads(path.read_text())
    with patch("edge_lorahub.export.bundle_writer._warn_of_unused") as unused:
        export(checkpoint, out, precision=precision, slots=kinds, force=True)
    config = find_family(fields, path).read(fields, path)
    return Exported(load(out, threads=1), lora, config, list(unused.call_args.args[1]))


def write_decoder_module(
    folder: Path, config: Mapping[str, Any], seed: int = 0, rank: int = 3, kinds: Sequence[str] = KINDS, **fields: Any
) -> Path:
    """A LoRA module for a checkpoint of that config, as peft saves one; fields go into adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors: dict[str, Float32] = {}
    for layer in range(config["num_hidden_layers"]):
        for kind in kinds:
            d_in, d_out = sides(config)[kind]
            key = f"base_model.model.{layer_name(layer, kind)}"
            tensors[f"{key}.lora_A.weight"] = rng.standard_normal((rank, d_in), np.float32) * np.float32(d_in**-0.5)
            tensors[f"{key}.lora_B.weight"] = rng.standard_normal((d_out, rank), np.float32) * np.float32(0.2)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "r": rank, "lora_alpha": 6,
        "target_modules": list(kinds), "bias": "none", "fan_in_fan_out": False,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings | fields))
    return folder


def random_texts(
    vocabulary: int, lengths: Sequence[int] = (17, 3, 40, 29, 9), common: int = 12, seed: int = 1
) -> list[Text]:
    """Texts that have so many tokens in common, and then so many of their own, the last one to four of them labels."""
    rng = np.random.default_rng(seed)
    prefix = rng.integers(3, vocabulary, common)
    texts = []
    for index, length in enumerate(lengths):
        ids = np.concatenate([prefix, rng.integers(3, vocabulary, length)]).astype(np.int64)
        texts.append(Text(ids, max(1, len(ids) - (1 + index % 4))))
    return texts


def random_lora(slots: Sequence[Slot], rank: int = 4, seed: int = 0, size: float = 0.2) -> dict[str, Float32]:
    """LoRA inputs of every slot, in float32."""
    rng = np.random.default_rng(seed)
    lora = {}
    for slot in slots:
        lora[lora_a_name(slot.name)] = rng.standard_normal((slot.d_in, rank), np.float32) * np.float32(slot.d_in**-0.5)
        lora[lora_scale_name(slot.name)] = rng.uniform(0.5, 1.5, rank).astype(np.float32)
        lora[lora_b_name(slot.name)] = rng.standard_normal((rank, slot.d_out), np.float32) * np.float32(size)
    return lora


def no_lora(slots: Sequence[Slot]) -> dict[str, Float32]:
    """LoRA inputs of rank 0: the plain model."""
    return random_lora(slots, rank=0)


def skip_if_too_old(family: str) -> None:
    """Skips a test of a family of TINY that this onnxruntime computes wrongly."""
    least = LEAST.get(family, (1, 23))
    version = tuple(int(part) for part in ort.__version__.split(".")[:2])
    if version < least:
        pytest.skip(f"onnxruntime {ort.__version__} is older than {least[0]}.{least[1]}")
