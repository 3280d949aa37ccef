"""A decoder-only bundle end to end against transformers + peft: adapters go out and in, and compute the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from click.testing import Result  # noqa: E402
from decoder_oracle import difference, oracle_greedy, oracle_logits, oracle_model  # noqa: E402
from decoders import KINDS, TINY, complete, task_of, write_checkpoint, write_decoder_module  # noqa: E402
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model  # noqa: E402

from edge_lorahub import Adapter, Example, Modules, Settings, adapt, bake, load, load_adapter  # noqa: E402
from edge_lorahub.composition.stack import plain_inputs  # noqa: E402
from edge_lorahub.export import export  # noqa: E402
from edge_lorahub.runtime.answers import greedy  # noqa: E402
from edge_lorahub.runtime.binding import Runner  # noqa: E402
from edge_lorahub.runtime.decoder_only.packing import Text  # noqa: E402
from edge_lorahub.runtime.generation import runner_for  # noqa: E402
from edge_lorahub.runtime.session import Model  # noqa: E402

pytestmark = pytest.mark.oracle

EXAMPLES = [Example(" ".join(f"w{9 + i + j}" for j in range(3 + 7 * i)), f"w{20 + i} w{30 + i}") for i in range(5)]
CONFIG = TINY["llama-3"]


def ours(model: Model, texts: list[Text], adapter: Adapter | None) -> list[np.ndarray]:
    inputs = plain_inputs(model.manifest.slots) if adapter is None else adapter.inputs(model.manifest)
    runner, architecture = Runner(model, "score", inputs), model.architecture
    batches = architecture.batches(model.tokens, task_of(texts), range(len(texts)), 768)
    found = {}
    for batch, scoring in zip(batches, architecture.scorings(runner, batches), strict=True):
        found |= dict(zip(batch.members, [rows.copy() for rows in scoring.run()], strict=True))
    return [found[i] for i in range(len(texts))]


def encoded(model: Model) -> list[Text]:
    task = model.bundle.encode(EXAMPLES, 999, 99)
    return [Text(np.append(s, t), len(s)) for s, t in zip(task.sources, task.labels, strict=True)]


def test_adapt_save_and_load_in_peft(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", CONFIG)
    complete(checkpoint)
    folders = [write_decoder_module(tmp_path / f"m{i}", CONFIG, seed=i, rank=2 + i) for i in range(3)]
    export(checkpoint, tmp_path / "bundle")
    model = load(tmp_path / "bundle", threads=1)
    result = adapt(model, Modules.load(folders), EXAMPLES, Settings(budget=10))
    assert np.abs(list(result.weights.values())).max() > 0.01
    result.adapter.save(tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(oracle_model(checkpoint), tmp_path / "adapter").eval()
    texts = encoded(model)
    truth = oracle_logits(theirs, texts)
    found = difference(ours(model, texts, result.adapter), truth)
    print(f"[measured] logits {found:.1e}")
    assert found <= 1e-5
    assert difference(ours(model, texts, None), truth) > 0.02
    prompts = [text.ids[: text.start] for text in texts]
    (end,) = model.manifest.model.end_token_ids
    expected = [row[: row.index(end)] if end in row else row for row in oracle_greedy(theirs, prompts, 20)]
    answers = greedy(runner_for(model, result.adapter), prompts, 20)
    assert [answer.tolist() for answer in answers] == expected
    # another's way to load it, by its task type
    again = AutoPeftModelForCausalLM.from_pretrained(
        with_base(tmp_path / "adapter", checkpoint), torch_dtype=torch.float32
    )
    assert difference(oracle_logits(again.eval(), texts[:2]), truth[:2]) <= 1e-5
    bake(tmp_path / "bundle", result.adapter, tmp_path / "baked")
    assert difference(ours(load(tmp_path / "baked", threads=1), texts, None), truth) <= 1e-5


def with_base(adapter: Path, checkpoint: Path) -> Path:
    """The adapter's settings, with a base model that is on this disk."""
    path = adapter / "adapter_config.json"
    path.write_text(re.sub(r'("base_model_name_or_path": )"[^"]*"', rf'\1"{checkpoint}"', path.read_text()))
    return adapter


@pytest.mark.parametrize("targets", [None, list(KINDS), r".*\.(o_proj|down_proj)", ["self_attn.k_proj"]])
@pytest.mark.parametrize("family", ["qwen2", "gemma", "qwen3"])
def test_modules_that_peft_saves(family: str, targets: list[str] | str | None, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", TINY[family])
    complete(checkpoint)
    export(checkpoint, tmp_path / "bundle")
    model = load(tmp_path / "bundle", threads=1)
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=targets, use_rslora=family == "gemma")
    theirs = get_peft_model(oracle_model(checkpoint), config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    theirs.save_pretrained(tmp_path / "module")
    adapter = load_adapter(tmp_path / "module", model.manifest)
    texts = encoded(model)
    assert difference(ours(model, texts, adapter), oracle_logits(theirs, texts)) <= 1e-5
    assert difference(ours(model, texts, None), oracle_logits(theirs, texts)) > 0.02


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_verify(family: str, precision: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", TINY[family])
    complete(checkpoint)
    out = tmp_path / "bundle"
    result = run("export", checkpoint, out, "--verify", "--precision", precision, "--no-check")
    assert result.exit_code == 0, result.output
    match = re.search(r"verified against transformers \S+: .* (\d\S+)$", result.output.strip())
    assert match is not None, result.output
    assert 0 < float(match[1]) <= (1e-5 if precision == "fp32" else 0.2)


def test_verify_sees_other_weights(tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", CONFIG)
    complete(checkpoint)
    other = oracle_model(write_checkpoint(tmp_path / "other", CONFIG, seed=1))
    monkeypatch.setattr("edge_lorahub.export.checks.oracle._model", lambda _: other)
    assert "so there is no bundle" in fails("export", checkpoint, tmp_path / "bundle", "--verify")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_verify_a_gguf_file(
    architecture: str, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers reads the same file by itself."""
    gguf_files = pytest.importorskip("gguf_files")
    # it takes a head's size from the width
    for name, size in (("head_dim", 16), ("heads", 2), ("kv_heads", 1)):
        monkeypatch.setitem(gguf_files.SIZES, name, size)
    path = gguf_files.write_gguf(tmp_path / "m.gguf", architecture=architecture)
    result = run("export", path, tmp_path / "bundle", "--verify")
    assert result.exit_code == 0, result.output
    assert "verified against transformers" in result.output
