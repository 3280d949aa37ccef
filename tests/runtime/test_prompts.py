"""A prompt around inputs and outputs: which one is used, what it does, and that it is kept with the adapter."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import SPECIAL
from chat_templates import tokenizer as byte_tokenizer
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub import (
    Example,
    Model,
    Modules,
    Settings,
    adapt,
    evaluate,
    generate,
    load,
    load_adapter,
)
from edge_lorahub.bundle.manifest import MANIFEST, read_manifest
from edge_lorahub.bundle.prompt import Prompt, TextRule
from edge_lorahub.composition.adapter import SIDECAR
from edge_lorahub.convert.bake import bake
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError, SettingsError
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.runtime.framing import framed_sources
from edge_lorahub.runtime.opened import OpenBundle
from edge_lorahub.runtime.prompt_choice import choose_prompt, read_prompt
from edge_lorahub.runtime.tokens import Tokens

FRAME = {"before": "w5 w6 ", "after": " w7"}
PROMPT = Prompt(**FRAME)
# What a chat template could be for the tiny T5.
CHAT = Prompt("w1 ", " w2", system_before="w3 ", system_after=" w4 ", system_rule=TextRule(None, None))


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "frame.json"
    path.write_text(json.dumps(FRAME))
    return path


@pytest.fixture(scope="module")
def with_chat(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a chat template."""
    copy = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("chat") / "bundle"))
    (copy / MANIFEST).write_text(replace(read_manifest(copy), prompt=CHAT).to_json())
    return copy


@pytest.fixture(scope="module")
def learned(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An adapter that was learned within the frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        found = adapt(model, module_folders, examples, budget=8, prompt=PROMPT)
    out = tmp_path_factory.mktemp("learned") / "framed"
    found.adapter.save(out)
    return out


def texts(examples: list[Example]) -> list[str]:
    return [example.input for example in examples]


def framed(example: Example) -> Example:
    return Example(f"w5 w6 {example.input} w7", example.output)


def test_a_manifest_reads_a_prompt_back(with_chat: Path) -> None:
    prompt = replace(CHAT, output_rule=TextRule("\n", "", ("</think>",)), adds_special_tokens=False)
    assert read_manifest(with_chat).prompt == CHAT
    assert Prompt.of(json.loads(json.dumps(asdict(prompt)))) == prompt
    assert Prompt.of(asdict(prompt)) == prompt


@pytest.mark.parametrize(
    "record",
    [
        {"before": 1}, {"before": None}, {"between": ""}, {"system_before": "a"}, {"input_rule": "strip"}, [], "chat",
        {"input_rule": {"strip_left": 3}}, {"input_rule": {"reserved": "a"}}, {"output_rule": {"reserved": [1]}},
        {"input_rule": {"other": ""}}, {"adds_special_tokens": 1}, {"after": "\ud800"}, {"end": "x" * 70_000},
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_refused(record: Any) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)):
        Prompt.of(record)


def test_a_frame_is_as_if_it_stood_in_the_inputs(model: Model, examples: list[Example], learned: Path) -> None:
    """Generation, evaluation and learning: with a prompt as without it and with its texts in the examples."""
    joined = [framed(example) for example in examples]
    assert generate(model, texts(examples), prompt=PROMPT) == generate(model, texts(joined))
    assert evaluate(model, examples, prompt=PROMPT).predictions == evaluate(model, joined).predictions
    adapter = load_adapter(learned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generate(model, texts(examples), adapter=adapter) == generate(
            model, texts(joined), adapter=replace(adapter, record=None)
        )


@pytest.mark.parametrize("objective", ["losses", "texts"])
def test_a_search_within_a_frame(model: Model, modules: Modules, examples: list[Example], objective: str) -> None:
    joined = [framed(example) for example in examples]

    def rightness(found: list[str], shots: Any) -> float:
        return float(sum(map(len, found)))

    options: dict[str, Any] = {"budget": 8} | ({"text_objective": rightness} if objective == "texts" else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        inside, outside = (
            adapt(model, modules, examples, prompt=PROMPT, **options),
            adapt(model, modules, joined, **options),
        )
    assert inside.weights == outside.weights
    assert [one.loss for one in inside.trace] == [one.loss for one in outside.trace]
    assert inside.record.prompt == PROMPT
    assert outside.record.prompt.is_plain


def test_the_command_line_means_the_same(
    bundle: Path, module_folders: list[Path], examples: list[Example], examples_file: Path, frame: Path, tmp_path: Path,
    model: Model, run: Callable[..., Result],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    parent = module_folders[0].parent
    common = ("adapt", bundle, examples_file, "--modules", parent, "--out", out, "--budget", 8, "--threads", 1)
    result = run(*common, "--prompt-format", frame, "--json", "--holdout", 1)
    assert result.exit_code == 0, result.output
    assert "learned with another prompt" not in result.stderr
    adapter = load_adapter(out)
    assert adapter.record is not None
    assert adapter.record.prompt == PROMPT
    text, joined = examples[0].input, framed(examples[0]).input
    own = run("generate", bundle, text, "--adapter", out)
    assert own.stderr == ""
    expected = generate(model, [joined], adapter=replace(adapter, record=None))[0]
    assert own.stdout == f"{expected}\n"
    assert run("generate", bundle, text, "--prompt-format", frame).stdout == run("generate", bundle, joined).stdout
    told = run("generate", bundle, text, "--adapter", out, "--prompt-format", "plain")
    assert "Warning: out: learned with another prompt than it is used with: before 'w5 w6 ' (here ''), " in told.stderr
    assert told.stderr.count("Warning") == 1
    scores = run("evaluate", bundle, examples_file, "--prompt-format", "plain", "--adapter", out)
    assert scores.stderr.count("learned with another prompt") == 1
    assert "prompt" not in run("evaluate", bundle, examples_file, "--adapter", out, "--skip", 4).stderr


def test_a_search_is_resumed_with_the_same_prompt(model: Model, modules: Modules, examples: list[Example]) -> None:
    """A journal is of a search with all that it depends on, by digest."""

    def digest(prompt: Prompt) -> str:
        def stop(found: str) -> Any:
            raise KeyError(found)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EdgeLorahubWarning)
            with pytest.raises(KeyError) as caught:
                learn(model, modules, examples, Settings(budget=8), open_journal=stop, prompt=prompt)
        return str(caught.value)

    assert digest(PROMPT) == digest(PROMPT) != digest(Prompt())


@pytest.mark.parametrize("option", ["--warm-start", "--reuse"])
def test_what_is_taken_from_a_search_with_another_prompt_is_told(
    option: str,
    bundle: Path, module_folders: list[Path], examples_file: Path, frame: Path, tmp_path: Path, learned: Path,
    run: Callable[..., Result],
) -> None:  # fmt: skip
    common = (
        "adapt", bundle, examples_file, "--modules", module_folders[0].parent, "--budget", 8, "--threads", 1,
        "--no-answers", option, learned,
    )  # fmt: skip
    other = run(*common, "--out", tmp_path / "other")
    same = run(*common, "--out", tmp_path / "same", "--prompt-format", frame)
    assert other.exit_code == same.exit_code == 0
    told = " ".join(other.stderr.split())
    assert told.count("framed: learned with another prompt than it is used with") == 1
    nothing = "evaluations are not used, and everything is evaluated anew: it has seen none of these examples"
    assert told.count(nothing) == (option == "--reuse")
    assert "another prompt" not in same.stderr


def conversations(path: Path, *systems: str) -> Path:
    rows = [
        [{"role": "system", "content": system}] * bool(system)
        + [{"role": "user", "content": f"w9 w{10 + i}"}, {"role": "assistant", "content": "w4"}]
        for i, system in enumerate(systems)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def test_the_system_text_of_conversations(
    with_chat: Path, bundle: Path, module_folders: list[Path], tmp_path: Path, run: Callable[..., Result],
    fails: Callable[..., str],
) -> None:  # fmt: skip
    """It goes to the prompt's place for one, or before the input, or nowhere: then it is refused."""
    same = conversations(tmp_path / "same.jsonl", "w8", "w8")
    none = conversations(tmp_path / "none.jsonl", "", "")
    asked = run("generate", with_chat, "--file", none, "--system", "w8")
    for command in (("--file", same), ("--file", same, "--system", "w8")):
        found = run("generate", with_chat, *command)
        assert (found.stdout, found.stderr) == (asked.stdout, "")
    out = tmp_path / "adapter"
    modules = ("--modules", module_folders[0].parent, "--budget", 8, "--no-answers")
    assert run("adapt", with_chat, same, *modules, "--out", out).exit_code == 0
    assert load_adapter(out).record.prompt == CHAT.with_system("w8")
    assert "prompt than it is used" not in run("evaluate", with_chat, same, "--adapter", out).stderr
    line = fails("generate", with_chat, "--file", same, "--system", "w7")
    assert "conversations have a system text, and --system has another" in line
    mixed = conversations(tmp_path / "mixed.jsonl", "w8", "w7")
    assert "several system texts, and a prompt has one" in fails("evaluate", with_chat, mixed)
    some = conversations(tmp_path / "some.jsonl", "w8", "")
    assert "with a system text and without one" in fails("adapt", with_chat, some, *modules, "--out", tmp_path / "x")
    limited = run("adapt", with_chat, mixed, *modules, "--limit", 1, "--out", tmp_path / "limited")
    assert limited.exit_code == 0  # the second conversation is not used
    assert load_adapter(tmp_path / "limited").record.prompt == CHAT.with_system("w8")
    # no template: before the input
    before = "2 of 2 conversations have a system text, which is put before the input"
    texts = run("generate", bundle, "w8\nw9 w10", "w8\nw9 w11").stdout
    for plain in (("generate", bundle), ("generate", with_chat, "--prompt-format", "plain")):
        found = run(*plain, "--file", same)
        assert found.stdout == texts
        assert found.stderr.count(before) == 1
    # a template without a place for it
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    (other / MANIFEST).write_text(replace(read_manifest(other), prompt=PROMPT).to_json())
    assert "the prompt has no place for one" in fails("evaluate", other, same)


def test_a_memory_limit_counts_the_prompt(
    bundle: Path, module_folders: list[Path], examples_file: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    long = tmp_path / "long.json"
    long.write_text(json.dumps({"before": "w1 " * 3000}))
    parent = module_folders[0].parent
    common = ("adapt", bundle, examples_file, "--modules", parent, "--budget", 8, "--out", tmp_path / "out")
    limit = ("--memory-limit", "160MB", "--max-input-tokens", 4000)
    assert run(*common, *limit, "--prompt-format", long).exit_code == 2
    assert run(*common, *limit).exit_code == 0


def test_chat_is_the_default_where_there_is_a_template(
    with_chat: Path, bundle: Path, run: Callable[..., Result]
) -> None:
    plain = run("generate", bundle, "w1 w9 w2").stdout
    assert run("generate", with_chat, "w9").stdout == plain
    assert run("generate", with_chat, "w9", "--prompt-format", "chat").stdout == plain
    assert run("generate", with_chat, "w1 w9 w2", "--prompt-format", "plain").stdout == plain
    system = run("generate", bundle, "w3 w8 w4 w9 w2").stdout
    assert run("generate", with_chat, "w9", "--system", " w8 ").stdout == system
    assert generate(load(with_chat, threads=1), ["w9"], system="w8") == [system.removesuffix("\n")]
    assert "with a place for a system text" in run("inspect", with_chat).stdout
    assert "chat template" not in run("inspect", bundle).stdout


def test_an_adapter_keeps_its_system_text(
    with_chat: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path, bundle: Path
) -> None:
    model = load(with_chat, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        adapter = adapt(model, module_folders, examples, budget=8, system="w8").adapter
    adapter.save(tmp_path / "adapter")
    loaded = load_adapter(tmp_path / "adapter", read_manifest(with_chat))
    opened = OpenBundle(with_chat)
    assert choose_prompt(opened, adapter=loaded).before == "w3 w8 w4 "
    # and another one takes its place
    assert choose_prompt(opened, system="w10", adapter=loaded).before == "w3 w10 w4 "
    with pytest.warns(EdgeLorahubWarning, match=r"another prompt .*before 'w3 w8 w4 ' \(here 'w3 w10 w4 '\)"):
        generate(model, ["w9"], adapter=loaded, system="w10")
    with pytest.warns(EdgeLorahubWarning, match=r"before 'w3 w8 w4 ' \(here 'w1 '\)"):
        evaluate(model, [Example("w9", "w11")], adapter=loaded, prompt="chat")
    # the same from Python as on the command line
    with pytest.warns(EdgeLorahubWarning, match="learned from 1 of these 2 examples"):
        evaluate(model, [Example("w9", "w11"), examples[0]], adapter=loaded)
    # of another bundle the template is told, and the adapter's own prompt used
    with pytest.warns(EdgeLorahubWarning, match="another chat template than this bundle's"):
        load_adapter(tmp_path / "adapter", read_manifest(bundle))
    assert choose_prompt(OpenBundle(bundle), adapter=loaded).before == "w3 w8 w4 "


def test_an_adapter_without_a_prompt_takes_the_bundles(with_chat: Path, module_folders: list[Path]) -> None:
    assert choose_prompt(OpenBundle(with_chat), adapter=load_adapter(module_folders[0])) == CHAT


def test_an_adapter_as_a_module_within_another_prompt_is_told(
    model: Model, learned: Path, module_folders: list[Path], examples: list[Example]
) -> None:
    others = [Example(example.output, example.input) for example in examples]
    with pytest.warns(EdgeLorahubWarning, match="framed: learned with another prompt than it is used with"):
        adapt(model, [learned, module_folders[0]], others, budget=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapt(model, [learned, module_folders[0]], others, budget=8, prompt=PROMPT)
    assert not any("another prompt" in str(one.message) for one in caught)


def test_baking_tells_of_a_prompt_that_the_copy_does_not_have(bundle: Path, learned: Path, tmp_path: Path) -> None:
    with pytest.warns(EdgeLorahubWarning, match="learned with another prompt than it is used with: before"):
        bake(bundle, load_adapter(learned), tmp_path / "baked")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"befor": "a"}, "'befor' is no part of a prompt; there are before, after, lead, end"),
        ({}, "empty; it takes at least one of before"),
        ({"before": 3}, "before must be a text, got 3"),
        ({"before": None}, "before must be a text, got None"),
        ([1], "expected a JSON object"),
        ({"system_before": "a"}, "system_before and system_after go together"),
        ({"before": "\ud800"}, "before is not valid Unicode"),
        ({"before": "x" * 70_000}, "before is "),
        ({"lead": "a"}, "lead and end are for models that answer in the same text"),
        ({"end": "a"}, "must be empty"),
        ("{", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_prompt(
    bundle: Path, tmp_path: Path, fails: Callable[..., str], record: Any, why: str
) -> None:
    path = tmp_path / "prompt.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    assert why in fails("generate", bundle, "w1", "--prompt-format", path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--prompt-format", "chat"), "has no chat template; take the prompt format plain, or a file"),
        (("--prompt-format", "chatml"), "chatml: no such file; a prompt's format is chat, plain, or a JSON file"),
        (("--prompt-format", ""), "a prompt is 'chat', 'plain', a file"),
        (("--prompt-format", "."), "a folder, where a file was expected"),
        (("--system", "Be brief."), "the prompt format plain: there is no place for a system text"),
        (("--prompt-format", "plain", "--system", "x"), "the prompt format plain: there is no place"),
    ],
)
def test_what_cannot_be_honored_is_one_line_before_anything_is_done(
    bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path, fails: Callable[..., str],
    options: tuple[str, ...], why: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert why in fails("generate", bundle, "w1", *options)
    assert why in fails("evaluate", bundle, examples_file, *options)
    assert why in fails("adapt", bundle, examples_file, "-m", module_folders[0], "--out", out, *options)
    assert not out.exists()


@pytest.mark.parametrize("system", ["", " ", "x" * 70_000, "\udcff"])
def test_a_system_text_that_cannot_be_one(with_chat: Path, system: str) -> None:
    with pytest.raises(SettingsError, match="system text"):
        choose_prompt(OpenBundle(with_chat), system=system)


@pytest.mark.parametrize("prompt", [3, True, {"before": "a"}, ["chat"]])
def test_from_python_a_prompt_of_another_type(model: Model, prompt: Any) -> None:
    with pytest.raises(SettingsError, match="a prompt is 'chat', 'plain', a file or a Prompt"):
        generate(model, ["w1"], prompt=prompt)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("chat", "prompt is 'chat'"),
        (3, "prompt is 3"),
        ({"before": 3}, "prompt.before is 3"),
        ({"newer": ""}, "prompt.newer is a field that this program does not know"),
    ],
)
def test_a_damaged_record_is_refused(
    bundle: Path, learned: Path, tmp_path: Path, prompt: Any, words: str, fails: Callable[..., str]
) -> None:
    copy = Path(shutil.copytree(learned, tmp_path / "copy"))
    record = json.loads((copy / SIDECAR).read_text())
    (copy / SIDECAR).write_text(json.dumps(record | {"prompt": prompt}))
    assert words in fails("generate", bundle, "w1", "--adapter", copy)
    with pytest.raises(ModuleFileError, match=words):
        load_adapter(copy)


def test_texts_that_the_template_treats_otherwise_are_told(model: Model) -> None:
    prompt = replace(PROMPT, input_rule=TextRule(reserved=("w11",)), output_rule=TextRule(reserved=("",)))
    with pytest.warns(EdgeLorahubWarning, match=r"text 2 \(and 1 more\) has 'w11' in it, of which the chat template"):
        generate(model, ["w9", "w9 w11", "w11"], prompt=prompt)
    with pytest.warns(EdgeLorahubWarning, match="output 1 is empty, of which the chat template"):
        model.bundle.encode([Example("w9", "")], 20, 20, prompt)


def test_stripped_inputs_and_outputs(model: Model) -> None:
    prompt = replace(PROMPT, input_rule=TextRule(None, None), output_rule=TextRule("w", ""))
    task = model.bundle.encode([Example(" \n w9 ", "w11")], 20, 20, prompt)
    assert task.sources[0].tolist() == model.tokens.encode(["w5 w6 w9 w7"], 20)[0].tolist()
    assert task.labels[0].tolist() == model.tokens.encode(["11"], 20)[0].tolist()


def test_the_task_is_encoded_anew_for_another_prompt(model: Model, examples: list[Example]) -> None:
    one, other = (model.bundle.encode(examples, 50, 50, prompt) for prompt in (PROMPT, Prompt()))
    assert [len(row) for row in one.sources] == [len(row) + 3 for row in other.sources]


class _Vocabulary:
    vocab_size, eos_token_id, pad_token_id = 1000, 1, 1


@pytest.fixture(scope="module")
def bytes_tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    byte_tokenizer().save(str(path))
    return Tokens(path, _Vocabulary())  # type: ignore[arg-type]


@given(st.text(max_size=60), st.integers(12, 80), st.booleans())
def test_what_is_cut_is_the_input(bytes_tokens: Tokens, text: str, limit: int, adds: bool) -> None:
    """A source is before, a start of the input and after, whole, and as long as there is room for."""
    prompt = Prompt("<|im_start|>", "<|im_end|>ab", "c", adds_special_tokens=adds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        ids = framed_sources(bytes_tokens, [text], prompt, limit)[0].tolist()
    assert len(ids) <= limit
    whole = [
        bytes_tokens.encodings([f"<|im_start|>{text[:end]}<|im_end|>abc"], added=adds)[0].ids
        for end in range(len(text) + 1)
    ]
    assert ids == [row for row in whole if len(row) <= limit][-1]
    assert ids[-4:] == whole[0][-4:]
    assert (ids[0] == 0) == adds


def test_cut_sources_are_told_by_number(model: Model) -> None:
    long = " ".join(f"w{number}" for number in range(40))
    with pytest.warns(EdgeLorahubWarning, match="text 8 has 44 tokens and is cut to 20"):
        rows = framed_sources(model.tokens, ["w9", long], PROMPT, 20, first=7)
    assert rows[1].tolist() == model.tokens.encode(["w5 w6 " + long[: long.index(" w16")] + " w7"], 99)[0].tolist()
    assert rows[0].tolist() == model.tokens.encode(["w5 w6 w9 w7"], 99)[0].tolist()


def test_a_prompt_without_room_for_an_input(model: Model, fails: Callable[..., str], bundle: Path, frame: Path) -> None:
    line = fails("generate", bundle, "w1 w2", "--prompt-format", frame, "--max-input-tokens", 3)
    assert "text 1: its prompt alone has 4 tokens, which leaves no room for the input in 3" in line


def test_a_start_token_that_a_file_has_too_is_there_once(bytes_tokens: Tokens) -> None:
    prompt = Prompt("<s>Q: ")
    ids = framed_sources(bytes_tokens, ["a"], prompt, 99)[0]
    assert ids[:2].tolist() == [0, ids[1]]
    assert np.count_nonzero(ids == SPECIAL.index("<s>")) == 1
    assert framed_sources(bytes_tokens, ["a"], Prompt("Q: "), 99)[0].tolist() == ids.tolist()


def test_a_file_may_have_a_place_for_a_system_text(tmp_path: Path) -> None:
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"before": "a", "system_before": "b", "system_after": "c", "end": "</s>"}))
    prompt = read_prompt(path)
    assert (prompt.before, prompt.with_system("x").before, prompt.end) == ("a", "bxc", "</s>")
    assert prompt.adds_special_tokens
