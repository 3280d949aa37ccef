"""Chat templates as plain texts: what they are for models' templates, and which templates are refused."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML, ENDS, GEMMA, KINDS, LLAMA3, QWEN3, TOKENS, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub.bundle.prompt import Prompt, TextRule
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingDependencyError, MissingPathError
from edge_lorahub.export.prompts import freeze
from edge_lorahub.export.prompts import rendering as process
from edge_lorahub.export.prompts.template_worker import run
from edge_lorahub.export.source.chat_templates import ChatTemplate, find_template

NOW = datetime(2026, 3, 4)
CONTENT = "message['content']"


def frozen(text: str, *, adds_start: bool = False, **options: Any) -> Prompt:
    template = ChatTemplate(text, "here", TOKENS)
    return freeze(template, tokenizer(adds_start=adds_start), ENDS, now=NOW, **options)


def quietly(text: str, **options: Any) -> Prompt:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        return frozen(text, **options)


def rendered(template: str, messages: Sequence[Mapping[str, str]], *, prompt: bool) -> str:
    """What Jinja makes of a conversation."""
    job = {
        "template": template, "variables": TOKENS, "now": NOW.isoformat(), "digests": False, "longest": 10**6,
        "conversations": [{"messages": messages, "add_generation_prompt": prompt}],
    }  # fmt: skip
    return str(run(job)["found"][0]["text"])


@pytest.fixture(scope="module")
def prompts() -> dict[str, Prompt]:
    return {name: quietly(text) for name, text in KINDS.items()}


def test_the_texts_of_each_kind(prompts: dict[str, Prompt]) -> None:
    date = "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 04 Mar 2026\n\n"
    turn = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    answer = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    texts = {
        name: (one.before, one.after, one.lead, one.end, one.system_before, one.system_after)
        for name, one in prompts.items()
    }
    assert texts == {
        "chatml": (
            "<|im_start|>system\nBe of help.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "",
            "<|im_end|>\n", "<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n",
        ),
        "llama3": (f"{date}{turn}", answer, "", "<|eot_id|>", date, turn),
        "gemma": (
            "<s><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "", "<end_of_turn>\n", None, None,
        ),
        "gemma3": (
            "<s><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "", "<end_of_turn>\n",
            "<s><start_of_turn>user\n", "\n\n",
        ),
        "mistral": ("<s>[INST] ", " [/INST]", " ", "</s>", "<s>[INST] ", "\n\n"),
        "qwen3": (
            "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n\n", "<|im_end|>\n",
            "<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n",
        ),
        "zephyr": ("<|user|>\n", "</s>\n<|assistant|>\n", "", "</s>\n", "<|system|>\n", "</s>\n<|user|>\n"),
    }  # fmt: skip
    assert not any(one.adds_special_tokens for one in prompts.values())


def test_what_templates_do_to_texts(prompts: dict[str, Prompt]) -> None:
    plain, white = TextRule(), TextRule(None, None)
    rules = {name: (one.input_rule, one.output_rule, one.system_rule) for name, one in prompts.items()}
    assert rules == {
        "chatml": (plain, plain, plain),
        "llama3": (white, white, white),
        "gemma": (white, white, plain),
        "gemma3": (white, white, plain),
        "mistral": (plain, plain, plain),
        "qwen3": (plain, TextRule("\n", "", ("</think>",)), plain),
        "zephyr": (plain, plain, plain),
    }


@given(st.sampled_from(sorted(KINDS)), st.text(), st.text(), st.text() | st.none())
def test_they_are_what_the_template_writes(
    prompts: dict[str, Prompt], name: str, text: str, answer: str, system: str | None
) -> None:
    """Whatever the texts are: as Jinja renders them."""
    prompt, messages = prompts[name], []
    if system is not None and prompt.takes_system and system.strip():
        prompt = prompt.with_system(system)
        messages = [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": text})
    asked = prompt.before + prompt.input_rule.apply(text) + prompt.after
    assert rendered(KINDS[name], messages, prompt=True) == asked
    answered = [*messages, {"role": "assistant", "content": answer}]
    if not prompt.output_rule.reserved_in(answer):
        expected = asked + prompt.lead + prompt.label(answer)
        assert rendered(KINDS[name], answered, prompt=False) == expected
        assert "".join(prompt.source(text)) + prompt.label(answer) == expected


def replaced(by: str) -> str:
    return CHATML.replace(CONTENT, by)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (replaced(f"{CONTENT} | upper"), "puts in an input changed, or not at all"),
        (replaced("'nothing'"), "puts in an input changed, or not at all"),
        (replaced(f"{CONTENT} + {CONTENT}"), "puts in an input more than once"),
        (replaced(f"{CONTENT} | replace(' ', '_')"), "changes an input with ' ' at an end"),
        (replaced(f"{CONTENT}[:1000]"), "does not put in every input and answer as it is"),
        (replaced(f"('long' if {CONTENT} | length > 10000 else {CONTENT})"), "does not put in every input"),
        (replaced(f"{CONTENT}.split() | join(' ')"), "does not put in every input"),
        (replaced(f"({CONTENT} | int if {CONTENT}.isdigit() else {CONTENT}) ~ '.'"), "'.<|im_end|>\\n'"),
        (CHATML.replace("Be of help.", "' ~ range(10**5) | random ~ '"), "does not put in every|another text before"),
        (CHATML.replace("assistant\n' }}{% endif %}", "bot\n' }}{% endif %}"), "another text before an answer"),
        (CHATML.replace("<|im_end|>", "\n"), "the first token is 'Ċ' .* and not one that ends an answer"),
        ("", "puts in an input changed, or not at all"),
        ("{% if %}", "is no chat template that Jinja can read"),
        ("{{ messages | tojson }}", "another text before an answer"),
        ("{{ raise_exception('Never') }}", r"cannot be rendered for one input and its answer \(TemplateError: Never"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ nothing.there.at_all }}", "'nothing' is undefined"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% for i in range(99999) %}many characters{% endfor %}", "more than 200000 characters"),
        (CHATML.replace("Be of help.", "x" * 70_000), "before is"),
    ],
)
def test_what_cannot_be_plain_texts_is_refused(template: str, why: str) -> None:
    with pytest.raises(CheckpointError, match=why) as caught:
        quietly(template)
    assert str(caught.value).startswith("here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'a' | center(10**10) }}",
        "{% set ns = namespace(x='a' * 9999) %}{% for i in range(99999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    ],
)
def test_a_template_without_end_is_ended(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SECONDS", 1)
    monkeypatch.setattr(process, "_MEGABYTES", 300)
    with pytest.raises(CheckpointError, match="here cannot be rendered"):
        quietly(template)


def test_where_the_system_knows_no_limits_the_clock_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 0.5)
    with pytest.raises(CheckpointError, match="cannot be rendered within"):
        quietly("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")


@pytest.mark.parametrize(
    "how",
    [
        f"('JSON please: ' if 'json' in {CONTENT} else '') + {CONTENT}",
        f"{CONTENT} | replace('json', 'JSON')",
        f"{CONTENT}.split('json')[0]",
        f"{CONTENT} if not {CONTENT}.startswith('json') else ''",
        f"{CONTENT} if not {CONTENT}.endswith('json') else raise_exception('No')",
        f"{CONTENT} if {CONTENT} != 'json' else '{{}}'",
    ],
)
def test_a_text_that_it_treats_otherwise_is_told(how: str) -> None:
    with pytest.warns(EdgeLorahubWarning, match="makes something else of an input or answer with 'json' in it"):
        prompt = frozen(replaced(f"({how})"))
    assert prompt.input_rule.reserved == prompt.output_rule.reserved == ("json",)
    assert prompt.input_rule.reserved_in("a json text") == "json"


def test_an_empty_input_that_is_left_out_is_told() -> None:
    template = CHATML.replace("{% endfor %}", "{{ '?' if not message['content'] }}{% endfor %}", 1)
    with pytest.warns(EdgeLorahubWarning, match="with '' in it"):
        prompt = frozen(template)
    assert prompt.input_rule.reserved_in("") == ""
    assert prompt.input_rule.reserved_in("text") is None


def test_a_template_that_looks_for_everything_is_refused() -> None:
    words = " or ".join(f"'w{number:02}' in {CONTENT}" for number in range(30))
    with pytest.raises(CheckpointError, match="depends on what is in an input or answer"):
        quietly(replaced(f"('!' if {words} else '') + {CONTENT}"))


@pytest.mark.parametrize(
    "template",
    [
        GEMMA,  # refuses it
        CHATML.replace("for message in messages", "for message in messages if message['role'] != 'system'"),
        # behind the input
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}|{% endif %}{% endfor %}"
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}>"
        "{% if messages[-1].role == 'assistant' %}{{ messages[-1].content + '</s>' }}{% endif %}",
        # an input has its spaces only behind a system text, as with Llama 2
        "{% for m in messages %}{% if m.role == 'user' %}{{ ((messages[0].content + '|' if messages[0].role == 'system'"
        " else '') + m.content) | trim }}>{% elif m.role == 'assistant' %}{{ m.content + '</s>' }}{% endif %}"
        "{% endfor %}",
    ],
)
def test_a_template_may_have_no_place_for_a_system_text(template: str) -> None:
    prompt = quietly(template)
    assert not prompt.takes_system
    with pytest.raises(ValueError, match="there is no place for a system text"):
        prompt.with_system("Be brief.")


def test_the_date_is_told() -> None:
    with pytest.warns(EdgeLorahubWarning, match="writes the date: .* 2026-03-04"):
        frozen(LLAMA3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "1 May" in frozen(LLAMA3, arguments={"date_string": "1 May"}).before


def test_thinking() -> None:
    """Without it the same text comes about, so nothing is said; where it does not, that is."""
    thinking = quietly(QWEN3)
    without = quietly(QWEN3, arguments={"enable_thinking": False})
    assert thinking.after + thinking.lead == without.after
    mode = "{% if enable_thinking is defined and not enable_thinking %}Do not think.{% else %}Think.{% endif %}"
    with pytest.warns(EdgeLorahubWarning, match="enable_thinking=false"):
        frozen(mode + CHATML)
    opens = CHATML.replace("assistant\n' }}", "assistant\n' + ('' if enable_thinking is false else '<think>') }}")
    with pytest.raises(CheckpointError, match="try its argument enable_thinking=false"):
        quietly(opens)
    assert quietly(opens, arguments={"enable_thinking": False}).end == "<|im_end|>\n"


def test_the_start_token_is_neither_doubled_nor_missed_in_silence() -> None:
    with pytest.warns(EdgeLorahubWarning, match="no '<s>' at its start"):
        frozen(CHATML, adds_start=True)
    with pytest.warns(EdgeLorahubWarning, match="writes '<s>' twice"):
        frozen("{{ bos_token }}" + GEMMA, adds_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt = frozen(GEMMA, adds_start=True)
        frozen(CHATML)
    ids = tokenizer().encode("".join(prompt.source("a")), add_special_tokens=prompt.adds_special_tokens).ids
    assert ids.count(0) == 1


def test_without_jinja_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"edge-lorahub\[chat\]"):
        quietly(CHATML)


def write(folder: Path, settings: object = None, **files: str) -> Path:
    folder.mkdir(parents=True)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_jinja", ".jinja")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return folder


LISTED = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]


@pytest.mark.parametrize(
    ("settings", "files", "choice", "text"),
    [
        ({"chat_template": "A"}, {}, None, "A"),
        ({"chat_template": None}, {}, None, None),
        ({}, {}, None, None),
        (None, {}, None, None),
        ({"chat_template": LISTED}, {}, None, "D"),
        ({"chat_template": LISTED}, {}, "tool_use", "T"),
        ({"chat_template": {"default": "D", "rag": "R"}}, {}, "rag", "R"),
        ({"chat_template": [{"name": "only", "template": "O"}]}, {}, None, "O"),
        ({"chat_template": "A"}, {"chat_template_jinja": "F"}, None, "F"),
        (None, {"chat_template_jinja": "F"}, None, "F"),
        ({}, {"chat_template_jinja": "F", "additional_chat_templates__rag_jinja": "R"}, None, "F"),
        ({}, {"chat_template_jinja": "F", "additional_chat_templates__rag_jinja": "R"}, "rag", "R"),
        ({}, {"chat_template_jinja": "a\r\nb"}, None, "a\nb"),
        ({"chat_template": "A"}, {}, "none", None),
    ],
)
def test_where_a_template_is(
    tmp_path: Path, settings: object, files: dict[str, str], choice: str | None, text: str | None
) -> None:
    found = find_template(write(tmp_path / "model", settings, **files), choice)
    assert (None if found is None else found.text) == text


def test_a_template_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("mine")
    model = write(tmp_path / "model", {"chat_template": "A", "bos_token": {"content": "<s>"}, "eos_token": None})
    found = find_template(model, str(tmp_path / "own.jinja"))
    assert found is not None
    assert (found.text, dict(found.tokens)) == ("mine", {"bos_token": "<s>", "eos_token": None})


@pytest.mark.parametrize(
    ("settings", "choice", "why"),
    [
        ({"chat_template": 5}, None, "must be a text, or a list"),
        ({"chat_template": [{"name": "a"}]}, None, "must be a text, or a list"),
        ({"chat_template": [LISTED[0], LISTED[0]]}, None, "the same name"),
        ({"chat_template": [LISTED[0], {"name": "rag", "template": "R"}]}, None, r"several .*rag, tool_use"),
        ({"chat_template": "A"}, "rag", "no chat template is called 'rag'"),
        ({"chat_template": "A", "bos_token": 3}, None, "bos_token must be a text"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path: Path, settings: object, choice: str | None, why: str) -> None:
    with pytest.raises((CheckpointError, MissingPathError), match=why):
        find_template(write(tmp_path / "model", settings), choice)


def test_a_special_token_that_nothing_names_is_refused(tmp_path: Path) -> None:
    """transformers would take that of the tokenizer's class, which is not known here."""
    model = write(tmp_path / "model", {"chat_template": KINDS["mistral"]})
    template = find_template(model)
    assert template is not None
    with pytest.raises(CheckpointError, match="writes bos_token and eos_token, which tokenizer_config"):
        freeze(template, tokenizer(), ENDS)
    (model / "special_tokens_map.json").write_text(json.dumps(TOKENS))
    template = find_template(model)
    assert template is not None
    assert freeze(template, tokenizer(), ENDS).end == "</s>"
