"""Every form that an adapter is converted to, read by the tool that it is for: the tokens and logits of peft.

EDGE_LORAHUB_CONVERSIONS names more sizes to try than the tiny ones, as flan-t5-small,flan-t5-base;
EDGE_LORAHUB_PEFTS the Pythons of other versions of peft, with colons between.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from conversions import TOLERANCE, OnnxAdapter, assert_same, convert, greedy, relative, source_logits
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModelForSeq2SeqLM

from edge_lorahub.export import export
from edge_lorahub.testing.random_models import SIZES, write_checkpoint, write_module
from edge_lorahub.tinyhub import DEV_TASKS, examples
from edge_lorahub.tinyhub.hub import DATA

pytestmark = [
    pytest.mark.oracle,
    # torch's exporter of before traces a model of transformers: what they warn of is theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]
SIZES_TRIED = [
    "tinyhub", "tiny", "tiny-t5", *filter(None, os.environ.get("EDGE_LORAHUB_CONVERSIONS", "").split(",")),
]  # fmt: skip
PYTHONS = [sys.executable, *filter(None, os.environ.get("EDGE_LORAHUB_PEFTS", "").split(os.pathsep))]


@dataclass(frozen=True)
class Case:
    checkpoint: Path
    module: Path
    bundle: Path
    rows: list[list[int]]
    labels: list[int]
    peft: PeftModel
    ends: tuple[int, ...]
    tokens: list[list[int]]
    logits: np.ndarray


@pytest.fixture(scope="module", params=SIZES_TRIED)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A checkpoint, a module of all kinds of layers, 20 inputs, and what peft computes."""
    size, top = request.param, tmp_path_factory.mktemp("case")
    rng = np.random.default_rng(0)
    if size == "tinyhub":
        checkpoint, module = DATA / "base", sorted((DATA / "modules" / "clean").iterdir())[0]
        tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        rows = [tokenizer.encode(text).ids for text, _ in examples(DEV_TASKS[0].task, 20, 1)]
        slots = ["q", "v"]
    else:
        kinds = ("q", "k", "v", "o", "wo", *(("wi",) if size in ("tiny-t5", "t5-small") else ("wi_0", "wi_1")))
        checkpoint = write_checkpoint(top / "base", size)
        # with 0.1 torch's own logits differ by 5e-5 on published sizes, where a module is merged or not
        std = 0.1 if size.startswith("tiny") else 0.02
        module = write_module(top / "module", size, seed=1, kinds=kinds, std=std)
        rows = [[*rng.integers(3, SIZES[size]["vocab_size"], length).tolist(), 1] for length in range(4, 44, 2)]
        slots = list(kinds)
    export(checkpoint, top / "bundle", slots=slots)
    plain = AutoModelForSeq2SeqLM.from_pretrained(checkpoint).eval()
    model = PeftModel.from_pretrained(plain, module).eval()
    labels = rng.integers(3, 100, 6).tolist()
    logits = source_logits(model, rows[0], labels)
    with model.disable_adapter():
        assert relative(source_logits(model, rows[0], labels), logits) > 0.01
    ends = (plain.generation_config.eos_token_id,)
    return Case(checkpoint, module, top / "bundle", rows, labels, model, ends, greedy(model, rows, whole=False), logits)


def check_logits(name: str, found: np.ndarray, truth: np.ndarray, tolerance: float = TOLERANCE) -> None:
    difference = relative(found, truth)
    print(f"[measured] {name}: logits {difference:.1e}")
    assert difference <= tolerance


@pytest.fixture(scope="module")
def merged(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # the tiny hub's is in float16, which rounds the change
    options = ("--base", case.checkpoint, "--dtype", "float32")
    return convert(case.module, "checkpoint", tmp_path_factory.mktemp("c") / "out", *options)


def test_checkpoint_in_transformers(case: Case, merged: Path) -> None:
    model, info = AutoModelForSeq2SeqLM.from_pretrained(merged, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    model = model.eval()
    check_logits("transformers", source_logits(model, case.rows[0], case.labels), case.logits)
    assert_same("transformers", lambda: greedy(model, case.rows, whole=False), case.tokens)


def test_checkpoint_is_pefts_own_merge(case: Case, merged: Path) -> None:
    state = AutoModelForSeq2SeqLM.from_pretrained(merged).state_dict()
    plain = AutoModelForSeq2SeqLM.from_pretrained(case.checkpoint)
    theirs = PeftModel.from_pretrained(plain, case.module).merge_and_unload().state_dict()
    assert state.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (state[name] - tensor).abs().max() <= 1e-6 * tensor.abs().max(), name


def test_checkpoint_in_ctranslate2(case: Case, merged: Path, tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    # its converter reads the tokenizer through transformers, which the tiny hub's needs told the class of
    settings = merged / "tokenizer_config.json"
    added = not settings.exists()
    if added:
        settings.write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", '
                            '"eos_token": "</s>", "unk_token": "<unk>"}')  # fmt: skip
    try:
        ctranslate2.converters.TransformersConverter(str(merged)).convert(str(tmp_path / "ct2"))
    finally:
        if added:
            settings.unlink()
    tokenizer = Tokenizer.from_file(str(merged / "tokenizer.json"))
    translator = ctranslate2.Translator(str(tmp_path / "ct2"), compute_type="float32", intra_threads=1)

    def answers() -> list[list[int]]:
        texts = [[str(tokenizer.id_to_token(i)) for i in row] for row in case.rows]
        found = translator.translate_batch(
            texts, beam_size=1, max_batch_size=1, max_decoding_length=12, min_decoding_length=12, max_input_length=0
        )
        return [[tokenizer.token_to_id(token) for token in each.hypotheses[0]] for each in found]

    assert_same("CTranslate2", answers, case.tokens)


def test_onnx_adapter_on_onnxruntime_alone(case: Case, tmp_path: Path) -> None:
    runner = OnnxAdapter(case.bundle, convert(case.module, "onnx-adapter", tmp_path / "o", "--bundle", case.bundle))
    check_logits("onnxruntime", runner.logits(case.rows[0], case.labels), case.logits)
    assert_same("onnxruntime", lambda: [runner.greedy(row, case.ends) for row in case.rows], case.tokens)


def test_optimum(case: Case, tmp_path: Path) -> None:
    onnx = pytest.importorskip("optimum.onnxruntime")
    out = convert(case.module, "optimum", tmp_path / "o", "--base", case.checkpoint)
    config = case.peft.config
    # optimum-onnx 0.1.0 takes d_model / num_heads for the size of a head where it runs the merged decoder
    merged = None if config.d_kv * config.num_heads == config.d_model else False
    model = onnx.ORTModelForSeq2SeqLM.from_pretrained(out, use_io_binding=False, use_merged=merged)
    shifted = torch.tensor([[0, *case.labels[:-1]]])
    ids = torch.tensor([case.rows[0]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=shifted).logits[0]
    check_logits("optimum", np.asarray(logits), case.logits)
    assert_same("optimum", lambda: greedy(model, case.rows, whole=False), case.tokens)


@pytest.mark.parametrize("python", PYTHONS)
def test_peft_of_other_versions(python: str, case: Case, tmp_path: Path) -> None:
    out = convert(case.module, "peft", tmp_path / "p")
    ids = torch.tensor([case.rows[0]])
    arrays = {"ids": ids, "mask": torch.ones_like(ids), "labels": torch.tensor([case.labels])}
    np.savez(tmp_path / "batch.npz", **{name: array.numpy() for name, array in arrays.items()})
    program = Path(__file__).parents[1] / "helpers" / "peft_logits.py"
    arguments = [case.checkpoint, out, tmp_path / "batch.npz", tmp_path / "logits.npy"]
    done = subprocess.run([python, program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_logits(f"peft of {python}", np.load(tmp_path / "logits.npy")[0], case.logits)


def test_export_with_an_adapter_and_bundles(case: Case, tmp_path: Path) -> None:
    """All of the same weights, so one is compared: by the oracle that --verify has, in every graph."""
    from click.testing import CliRunner
    from conversions import cli

    arguments = ["export", case.checkpoint, tmp_path / "one", "--adapter", case.module, "--verify"]
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    print(f"[measured] export --adapter: {result.stdout.splitlines()[-1]}")
    two = convert(case.module, "bundle", tmp_path / "two", "--bundle", case.bundle)
    one = np.memmap(tmp_path / "one" / "weights.bin", np.uint8, "r")
    assert len(one) == len(np.memmap(two / "weights.bin", np.uint8, "r"))
