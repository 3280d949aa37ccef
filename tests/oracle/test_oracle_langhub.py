"""The natural-language hub's training on a tiny random Llama, against transformers and peft."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from edge_lorahub import Example, Modules
from edge_lorahub.bench.langhub.base import BASE_MODEL, Base, load_base
from edge_lorahub.bench.langhub.bundle import exported
from edge_lorahub.bench.langhub.folders import save_module
from edge_lorahub.bench.langhub.padding import encode, label_logits, make_batch
from edge_lorahub.bench.langhub.train_module import Training, train_module
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.comparison.few_shot import with_examples
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.runtime.opened import OpenBundle

pytestmark = pytest.mark.oracle

PAIRS = [("Answer.\nwalk", "walked"), ("Go on.\nsee", "seen"), ("Do it.\nput", "[put]"), ("Do it.\ngo", "went")]
END = "<|im_end|>"


@pytest.fixture
def base() -> Base:
    torch.manual_seed(0)
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", END])
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.token_to_id(END),
        bos_token_id=None,
        initializer_range=0.2,  # larger than usual, so that attention matters without training
    )
    prompt = Prompt("<|im_start|>user\n", f"{END}\n<|im_start|>assistant\n", end=f"{END}\n", adds_special_tokens=False)
    return Base(LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer, prompt)


def trained(base: Base, folder: Path, pairs: list[tuple[str, str]], seed: int) -> list[float]:
    losses: list[float] = []
    settings = Training(steps=30, batch=len(pairs), rate=3e-2)
    model = train_module(base, settings, lambda: pairs, seed, lambda _, loss: losses.append(loss))
    save_module(model, folder, "card")
    model.unload()
    return losses


def test_examples_are_earlier_turns_of_the_chat_template(smollm2: Path, tmp_path: Path) -> None:
    """As transformers renders the real template."""
    bundle = OpenBundle(exported(smollm2, tmp_path, "int8"))
    template = open_gguf(smollm2).chat_template
    rendered = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(open_gguf(smollm2).tokenizer_json))
    turns = []
    for asked, answer in PAIRS:
        turns.append({"role": "user", "content": asked})
        shown = [Example(a["content"], b["content"]) for a, b in zip(turns[:-1:2], turns[1::2], strict=True)]
        wanted = rendered.apply_chat_template(turns, chat_template=template, add_generation_prompt=True, tokenize=False)
        assert "".join(with_examples(bundle.manifest.prompt, shown).source(asked)) == wanted
        turns.append({"role": "assistant", "content": answer})


def test_training_reads_the_tokens_that_the_runtime_reads(smollm2: Path, tmp_path: Path) -> None:
    bundle, base = OpenBundle(exported(smollm2, tmp_path, "int8")), load_base(smollm2)
    assert bundle.manifest.prompt == base.prompt
    pairs = [*PAIRS, ("Answer.\n42", "forty-two -> **[42]**"), ("Go on.\nThe food felt fun to me.", " positive")]
    task = bundle.encode([Example(*pair) for pair in pairs], 2048, 256)
    for pair, source, label in zip(pairs, task.sources, task.labels, strict=True):
        assert encode(base.tokenizer, base.prompt, *pair) == (source.tolist(), label.tolist())


def test_logits_are_those_of_each_text_alone(base: Base) -> None:
    encoded = [encode(base.tokenizer, base.prompt, *pair) for pair in PAIRS]
    batch = make_batch(encoded)
    assert len(batch.common) == 1 + len("user\n")
    with torch.no_grad():
        got = label_logits(base.model, batch)
        wanted = [base.model(torch.tensor([a + b])).logits[0, len(a) - 1 : -1] for a, b in encoded]
    torch.testing.assert_close(got, torch.cat(wanted), rtol=1e-5, atol=1e-5)
    assert batch.labels.tolist() == [token for _, completion in encoded for token in completion]


def test_gradients_are_those_of_each_text_alone(base: Base) -> None:
    """What the texts begin with is computed once, and learns from all of them."""
    encoded = [encode(base.tokenizer, base.prompt, *pair) for pair in PAIRS]
    weight = base.model.model.layers[0].self_attn.v_proj.weight.requires_grad_()
    batch = make_batch(encoded)
    torch.nn.functional.cross_entropy(label_logits(base.model, batch), batch.labels, reduction="sum").backward()
    got = weight.grad.clone()
    weight.grad = None
    for asked, completion in encoded:
        logits = base.model(torch.tensor([asked + completion])).logits[0, len(asked) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(completion), reduction="sum").backward()
    torch.testing.assert_close(got, weight.grad, rtol=1e-4, atol=1e-4)


def test_a_batch_of_equal_texts_keeps_a_token_of_each(base: Base) -> None:
    batch = make_batch([encode(base.tokenizer, base.prompt, *PAIRS[0])] * 2)
    assert len(batch.labels) == 2 * (len("walked") + 1)
    with torch.no_grad():
        first, second = label_logits(base.model, batch).chunk(2)
    torch.testing.assert_close(first, second)


def test_training_leaves_the_base_as_it_was_and_learns(base: Base, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    losses = trained(base, tmp_path / "do-one", PAIRS, 1)
    assert losses[-1] < losses[0] - 0.3
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    again = trained(base, tmp_path / "again", PAIRS, 1)
    assert again == losses
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "do-one" / file).read_bytes()


def test_folders_are_peft_folders_without_paths(base: Base, tmp_path: Path) -> None:
    trained(base, tmp_path / "do-one", PAIRS, 1)
    config = json.loads((tmp_path / "do-one" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE_MODEL
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 8, "CAUSAL_LM")
    assert str(tmp_path) not in json.dumps(config)
    (module,) = Modules.load([tmp_path / "do-one"])
    assert sum(1 for _ in module.loras()) == 4
