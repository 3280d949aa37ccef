"""The real SmolLM2-135M-Instruct with an English module, in every form but llama.cpp's: the logits and tokens of peft.

`test_oracle_gguf_lora.py` has llama.cpp's. A model's greedy tokens are compared in one run a question: where the most
likely token after each prefix of peft's answer is the answer's next one, the model's own answer is peft's.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")

import torch
from conversions import TOLERANCE, convert, relative
from decoder_oracle import oracle_choices
from decoders import Exported
from peft import PeftModel
from test_oracle_smollm2 import QUESTIONS
from transformers import AutoModelForCausalLM

from edge_lorahub import load
from edge_lorahub.export import export
from edge_lorahub.export.families import find_family
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.langhub.module_folders import module_folders
from edge_lorahub.runtime.decoder_only.packing import Text

pytestmark = [
    pytest.mark.oracle,
    # torch's exporter of before traces a model of transformers: what they warn of is theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning"),
]
STEPS = 12


class Case:
    """The base as a bundle and as a folder of transformers, and what peft answers with the module on it."""

    def __init__(self, smollm2: Path, top: Path) -> None:
        self.module = module_folders()[0]
        self.bundle, self.folder = top / "bundle", top / "folder"
        settings = open_gguf(smollm2).config
        self.config = find_family(settings, smollm2).read(settings, smollm2)
        export(smollm2, self.bundle, precision="fp32")
        bundle = load(self.bundle)
        prompt = bundle.manifest.prompt
        chats = [prompt.before + question + prompt.after + prompt.lead for question in QUESTIONS]
        self.rows = [list(encoding.ids) for encoding in bundle.tokens.encodings(chats)]
        plain = AutoModelForCausalLM.from_pretrained(
            str(smollm2.parent), gguf_file=smollm2.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        plain.save_pretrained(self.folder)
        (self.folder / "tokenizer.json").write_bytes((self.bundle / "tokenizer.json").read_bytes())
        self.plain = _answers(plain, self.rows)
        self.peft = PeftModel.from_pretrained(plain, self.module).eval()
        self.answers = _answers(self.peft, self.rows)
        self.logits = _logits(self.peft, self.rows[0])


@pytest.fixture(scope="module")
def case(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(smollm2, tmp_path_factory.mktemp("case"))


def _answers(model: Any, rows: list[list[int]]) -> list[list[int]]:
    found = []
    for row in rows:
        ids = torch.tensor([row])
        answer = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=STEPS, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        found.append(answer[0, len(row) :].tolist())
    return found


def _logits(model: Any, row: list[int]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(input_ids=torch.tensor([row])).logits[0])


def _arrays(case: Case) -> list[np.ndarray]:
    return [np.array(row) for row in case.rows]


def check(name: str, case: Case, logits: np.ndarray, choices: list[list[int]], places: slice = slice(None)) -> None:
    """places: of the first question's tokens, those whose logits there are."""
    same = sum(one == other for one, other in zip(choices, case.answers, strict=True))
    difference = relative(logits, case.logits[places])
    print(f"[measured] {name}: logits {difference:.1e}, {same} of {len(case.answers)} answers")
    assert difference <= TOLERANCE
    assert choices == case.answers


def test_the_module_changes_the_answers(case: Case) -> None:
    assert len(case.answers) == 20
    assert sum(one != other for one, other in zip(case.answers, case.plain, strict=True)) > 10


def test_peft(case: Case, tmp_path: Path) -> None:
    out = convert(case.module, "peft", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(case.folder, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, out).eval()
    check("peft", case, _logits(model, case.rows[0]), oracle_choices(model, _arrays(case), case.answers))


def test_checkpoint(case: Case, tmp_path: Path) -> None:
    out = convert(case.module, "checkpoint", tmp_path / "out", "--base", case.folder)
    model = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager").eval()
    check("transformers", case, _logits(model, case.rows[0]), oracle_choices(model, _arrays(case), case.answers))


def test_optimum(case: Case, tmp_path: Path) -> None:
    onnx = pytest.importorskip("optimum.onnxruntime")
    out = convert(case.module, "optimum", tmp_path / "out", "--base", case.folder)
    model = onnx.ORTModelForCausalLM.from_pretrained(out, use_io_binding=False)
    assert _answers(model, case.rows[:2]) == case.answers[:2]  # with its cache

    def whole(input_ids: torch.Tensor) -> Any:
        return model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))

    check(
        "optimum", case, np.asarray(whole(torch.tensor([case.rows[0]])).logits[0]),
        oracle_choices(whole, _arrays(case), case.answers),
    )  # fmt: skip


def test_onnx_adapter(case: Case, tmp_path: Path) -> None:
    """On onnxruntime and numpy alone, with ONNX Runtime's own activation of an adapter."""
    out = convert(case.module, "onnx-adapter", tmp_path / "out", "--bundle", case.bundle)
    session = ort.InferenceSession(case.bundle / "score.onnx", providers=["CPUExecutionProvider"])
    adapter, options = ort.LoraAdapter(), ort.RunOptions()
    adapter.Load(str(out / "score.onnx_adapter"))
    options.add_active_adapter(adapter)
    # Python's run asks for all inputs by name; the adapter's go first
    idle = {
        value.name: np.zeros([d if isinstance(d, int) else 0 for d in value.shape], np.float32)
        for value in session.get_inputs()
        if ".lora_" in value.name
    }

    def whole(input_ids: torch.Tensor) -> Any:
        ids = input_ids[0].numpy()
        places = np.arange(len(ids))
        inputs = {
            "input_ids": ids, "positions": places, "rows": places[None], "places": places, "scored": places,
            "scored_rows": places[None], "scored_places": places,
        }  # fmt: skip
        return SimpleNamespace(logits=torch.tensor(session.run(["logits"], {**idle, **inputs}, options)[0])[None])

    check(
        "onnxruntime", case, whole(torch.tensor([case.rows[0]])).logits[0].numpy(),
        oracle_choices(whole, _arrays(case), case.answers),
    )  # fmt: skip


def test_bundle(case: Case, tmp_path: Path) -> None:
    """A bundle of ours with the module in its weights, and its own cache."""
    out = convert(case.module, "bundle", tmp_path / "out", "--bundle", case.bundle)
    model = load(out)
    exported = Exported(model, "none", case.config, [])
    (text,) = [Text(np.array(case.rows[0]), 1)]
    (logits,) = exported.logits([text], {})
    found = [answer.tolist() for answer in exported.greedy({}, _arrays(case), STEPS)]
    check("bundle", case, logits, found, places=slice(0, -1))
