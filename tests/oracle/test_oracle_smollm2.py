"""The real SmolLM2-135M-Instruct: logits and answers beside transformers, which reads the same GGUF file; and int8.

`test_oracle_gguf.py` compares its token ids with llama.cpp's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from decoder_oracle import difference, oracle_choices, oracle_logits
from decoders import Exported
from gguf_files import CORPUS
from transformers import AutoModelForCausalLM

from edge_lorahub import load
from edge_lorahub.export import export
from edge_lorahub.export.families import find_family
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.runtime.decoder_only.packing import Text

pytestmark = pytest.mark.oracle
# of the largest logit
LOGITS = 1e-4
# how much larger a perplexity may be in int8
PERPLEXITY = 0.02
QUESTIONS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Name three animals that live in the desert.",
    "What is 17 + 25?",
    "Translate 'good morning' into Spanish.",
    "Explain photosynthesis to a child.",
    "Who wrote Hamlet?",
    "List the months that have 30 days.",
    "Turn this into the past tense: She walks to school.",
    "What is the opposite of 'cold'?",
    "Give me a recipe for pancakes.",
    "Is the following sentence positive or negative? I loved every minute of it.",
    "Write a Python function that adds two numbers.",
    "Summarize in one line: The sun rises in the east and sets in the west, every single day of the year.",
    "Why is the sky blue?",
    "Sort these words: pear, apple, fig, banana.",
    "What comes next: 2, 4, 8, 16?",
    "Antworte auf Deutsch: Wie heißt die Hauptstadt von Österreich?",
    'Give {"name": "Ada", "born": 1815} as a sentence.',
    "Tell me a joke.\nMake it short.",
)


def exported(smollm2: Path, out: Path, precision: str) -> Exported:
    """Its plain graphs."""
    source = open_gguf(smollm2)
    config = find_family(source.config, smollm2).read(source.config, smollm2)
    export(smollm2, out, precision=precision)
    return Exported(load(out), "none", config, [])


@pytest.fixture(scope="module")
def fp32(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(smollm2, tmp_path_factory.mktemp("smollm2") / "fp32", "fp32")


@pytest.fixture(scope="module")
def int8(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(smollm2, tmp_path_factory.mktemp("smollm2") / "int8", "int8")


@pytest.fixture(scope="module")
def theirs(smollm2: Path) -> Any:
    # its conversion of the tokenizer is wrong in four ways; the model is right
    return AutoModelForCausalLM.from_pretrained(
        str(smollm2.parent), gguf_file=smollm2.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def whole_texts(bundle: Exported, texts: list[str]) -> list[Text]:
    """Texts of which all tokens but the first are labels."""
    return [Text(np.array(encoding.ids), 1) for encoding in bundle.model.tokens.encodings(texts)]


def test_logits_are_those_of_transformers(fp32: Exported, theirs: Any) -> None:
    texts = whole_texts(fp32, [text for text in [*CORPUS, *QUESTIONS] if len(text) > 8])
    found = difference(fp32.logits(texts, {}), oracle_logits(theirs, texts))
    print(f"[measured] {sum(len(text.ids) - 1 for text in texts)} tokens: logits {found:.1e} of the largest")
    assert found <= LOGITS


def test_answers_to_chat_prompts_are_those_of_transformers(fp32: Exported, theirs: Any) -> None:
    """64 tokens each, all prompts in one batch; special tokens do not end them."""
    prompt = fp32.model.manifest.prompt
    assert prompt.before
    assert prompt.after
    assert len(QUESTIONS) == 20
    chats = [prompt.before + question + prompt.after + prompt.lead for question in QUESTIONS]
    prompts = [np.array(encoding.ids) for encoding in fp32.model.tokens.encodings(chats)]
    found = fp32.greedy({}, prompts, 64)
    expected = oracle_choices(theirs, prompts, found)
    print(f"[measured] {np.mean(np.array(found) == np.array(expected)):.1%} of {np.size(expected)} tokens")
    assert np.shape(found) == (20, 64)
    assert np.array_equal(found, expected)


def test_perplexity_in_int8_is_near_that_of_fp32(fp32: Exported, int8: Exported, shared: Path) -> None:
    """50 inputs of BIG-Bench Hard, as evenly of its tasks as can be."""
    files = sorted((shared / "bbh").glob("*.json"))
    tasks = [json.loads(file.read_text())["examples"] for file in files]
    inputs = [task[number]["input"][:600] for number in range(5) for task in tasks][:50]
    assert len(inputs) == 50
    texts = whole_texts(fp32, inputs)
    losses = [bundle.losses(texts, {}) for bundle in (fp32, int8)]
    nats = [float(one.sums.sum() / one.tokens.sum()) for one in losses]
    more = math.exp(nats[1] - nats[0]) - 1
    print(
        f"[measured] {losses[0].tokens.sum()} tokens: {nats[0]:.4f} and {nats[1]:.4f} nats, {more:.2%} more perplexity"
    )
    assert abs(more) <= PERPLEXITY
