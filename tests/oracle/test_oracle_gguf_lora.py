"""LoRAs for llama.cpp, applied by llama.cpp itself: the logits and tokens of peft on the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

import torch
from conversions import convert, greedy, relative
from decoder_oracle import oracle_choices
from gguf_files import gguf
from peft import LoraConfig, PeftModel, get_peft_model
from test_oracle_gguf import ARCHITECTURES, GEMMA, LOGITS, llama, random_model, written
from test_oracle_smollm2 import QUESTIONS

pytestmark = pytest.mark.oracle
KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEPS = 12


def logits_of(model: torch.nn.Module, row: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([row])).logits[0].numpy()


def peer_logits(peer: Any, row: list[int]) -> np.ndarray:
    peer.reset()
    peer.eval(row)
    return np.array(peer.scores[: len(row)])


def peer_greedy(peer: Any, row: list[int]) -> list[int]:
    found = [int(peer_logits(peer, row)[-1].argmax())]
    while len(found) < STEPS:
        peer.eval(found[-1:])
        found.append(int(peer.scores[peer.n_tokens - 1].argmax()))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture: str, tmp_path: Path) -> None:
    model = random_model(architecture)
    file = written(tmp_path, architecture, model)
    model.save_pretrained(tmp_path / "base")
    settings = LoraConfig(r=4, lora_alpha=6, target_modules=KINDS, rank_pattern={"down_proj": 2}, task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, settings).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    wrapped.save_pretrained(tmp_path / "module")
    out = convert(tmp_path / "module", "gguf-lora", tmp_path / "out", "--base", tmp_path / "base")
    peer = llama(file, n_ctx=64, logits_all=True, type_k=0, type_v=0, n_threads=1, lora_path=str(out / "adapter.gguf"))
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, 400, length).tolist() for length in range(3, 23)]
    truth, found = logits_of(wrapped, rows[-1]), peer_logits(peer, rows[-1])
    print(f"[measured] {architecture}: logits {relative(found, truth):.1e}")
    assert relative(found, truth) <= (GEMMA if "gemma" in architecture else LOGITS)
    with wrapped.disable_adapter():
        assert relative(logits_of(wrapped, rows[-1]), truth) > 0.05
    if "gemma" not in architecture:  # whose activation is a table of float16 there, so that near ties may differ
        answers = greedy(wrapped, rows, whole=True)
        assert [peer_greedy(peer, row) for row in rows] == answers


def in_float32(file: Path, out: Path) -> Path:
    """A GGUF file with its weights dequantized: llama.cpp rounds what it multiplies quantized ones with."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        array = gguf.dequantize(np.array(tensor.data), tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, array.reshape(tensor.shape[::-1]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def test_the_real_model(smollm2: Path, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct with an English module, on 20 questions."""
    from transformers import AutoModelForCausalLM

    from edge_lorahub.langhub.module_folders import module_folders

    module = module_folders()[0]
    plain = AutoModelForCausalLM.from_pretrained(str(smollm2.parent), gguf_file=smollm2.name, dtype=torch.float32)
    wrapped = PeftModel.from_pretrained(plain, module).eval()
    out = convert(module, "gguf-lora", tmp_path / "out", "--base", smollm2)
    file = in_float32(smollm2, tmp_path / "f32.gguf")
    peer = llama(file, n_ctx=128, logits_all=True, type_k=0, type_v=0, n_threads=2, lora_path=str(out / "adapter.gguf"))
    rows = [peer.tokenize(text.encode(), add_bos=False) for text in QUESTIONS]
    truth, found = logits_of(wrapped, rows[0]), peer_logits(peer, rows[0])
    print(f"[measured] SmolLM2: logits {relative(found, truth):.1e}")
    assert relative(found, truth) <= 1e-4
    # as they come: transformers takes another token of this file for the end, which it would leave out
    answers = [peer_greedy(peer, row) for row in rows]
    choices = oracle_choices(wrapped, [np.array(row) for row in rows], answers)
    same = [answer == choice for answer, choice in zip(answers, choices, strict=True)]
    print(f"[measured] SmolLM2: {sum(same)} of {len(same)} greedy answers")
    assert all(same)
