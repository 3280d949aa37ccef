"""Few-shot prompting: examples as turns or as text, and as many of them as there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_lorahub import Example, Model, Prompt
from edge_lorahub.comparison.few_shot import questions, with_examples
from edge_lorahub.errors import SettingsError

CHATML = Prompt(
    before="<s>system\nBe brief<e>\n<s>user\n",
    after="<e>\n<s>assistant\n",
    end="<e>\n",
    system_before="<s>system\n",
    system_after="<e>\n<s>user\n",
    adds_special_tokens=False,
)


def test_examples_are_turns_before_the_input() -> None:
    prompt = with_examples(CHATML, [Example("go", "went"), Example("see", "saw")])
    assert "".join(prompt.source("eat")) == (
        "<s>system\nBe brief<e>\n<s>user\ngo<e>\n<s>assistant\nwent<e>\n<s>user\nsee<e>\n<s>assistant\nsaw<e>\n"
        "<s>user\neat<e>\n<s>assistant\n"
    )
    assert with_examples(CHATML, []) == CHATML


@pytest.mark.parametrize("prompt", [Prompt(), replace(CHATML, before="<s>user\n"), replace(CHATML, end="</s>")])
def test_a_prompt_without_turns_takes_no_examples(prompt: Prompt) -> None:
    with pytest.raises(SettingsError, match="turns"):
        with_examples(prompt, [Example("go", "went")])


def test_without_turns_examples_are_lines_of_text(model: Model, examples: list[Example]) -> None:
    shown, asked = examples[:2], examples[2:4]
    found = questions(model.bundle, Prompt(), shown, asked, 2048)
    assert [one.text for one in found] == [
        "".join(f"Input: {one.input}\nOutput:\n{one.output}\n\n" for one in shown) + f"Input: {one.input}\nOutput:\n"
        for one in asked
    ]
    assert [(one.examples, one.as_text) for one in found] == [(2, True), (2, True)]


def test_examples_without_room_are_left_out_from_the_first_on(model: Model, examples: list[Example]) -> None:
    asked = [examples[3], Example("w5", "w6")]
    whole = questions(model.bundle, Prompt(), examples[:3], asked, 2048)
    lengths = [len(model.bundle.sources([one.text], 2048)[0]) for one in whole]
    one_less, all_of_them = questions(model.bundle, Prompt(), examples[:3], asked, lengths[0] - 1)
    assert (one_less.examples, all_of_them.examples) == (2, 3)
    assert one_less.text == questions(model.bundle, Prompt(), examples[1:3], asked, 2048)[0].text
    assert [one.examples for one in questions(model.bundle, Prompt(), examples[:3], asked, 2)] == [0, 0]
