"""Answers by sampling: reproducible, whatever stands beside a text, in pieces as in one, from Python and commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import sign
from click.testing import Result
from terminals import shown

import edge_lorahub
from edge_lorahub import Model, Sampling, generate, load, load_adapter, stream
from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.errors import SettingsError
from edge_lorahub.export import export
from edge_lorahub.runtime.encoder_decoder.stepping import Stepping

TEXTS = [" ".join(f"w{(7 * i + j) % 120 + 3}" for j in range(1 + 9 * i % 31)) for i in range(12)]
SAMPLINGS = [
    Sampling(), Sampling(temperature=0.5, top_p=0.9), Sampling(top_k=7, seed=3), Sampling(temperature=3, min_p=0.02),
    Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.3),
    Sampling(temperature=0, repetition_penalty=1.5),
]  # fmt: skip


@pytest.fixture(scope="module")
def int8_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "tiny"
    export(checkpoint, folder, precision="int8")
    return folder


@pytest.fixture(params=["fp32", "int8"])
def either(request: pytest.FixtureRequest, model: Model, int8_bundle: Path) -> Model:
    return model if request.param == "fp32" else load(int8_bundle, threads=1)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_an_answer_is_the_same_alone_in_any_batch_and_in_pieces(either: Model, sampling: Sampling) -> None:
    together = generate(either, TEXTS, sampling=sampling, max_new_tokens=15)
    assert len(set(together)) > 6
    for size in (1, 2, 5):
        assert generate(either, TEXTS, sampling=sampling, max_new_tokens=15, batch_size=size) == together
    for number, text in enumerate(TEXTS, 1):
        options: dict[str, Any] = {"sampling": sampling, "max_new_tokens": 15, "first": number}
        assert generate(either, [text], **options) == [together[number - 1]]
        assert "".join(stream(either, text, **options)) == together[number - 1]
    assert generate(either, TEXTS[4:], sampling=sampling, max_new_tokens=15, first=5) == together[4:]


def test_the_logits_that_are_drawn_from_are_those_of_the_text_alone(
    either: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding in fp32, and to the last bit in int8."""
    seen: list[np.ndarray] = []
    step = Stepping.step

    def watched(self: Stepping, ids: np.ndarray, *rest: object) -> np.ndarray:
        logits = step(self, ids, *rest)
        seen.append(logits.copy())
        return logits

    monkeypatch.setattr(Stepping, "step", watched)
    texts = [TEXTS[3], " ".join(reversed(TEXTS[3].split())), TEXTS[3]]  # of one length, and so a batch in this order

    def logits(texts: list[str], first: int) -> np.ndarray:
        seen.clear()
        generate(either, texts, sampling=Sampling(seed=2), max_new_tokens=12, first=first)
        return np.stack(seen, axis=1)

    together = logits(texts, 1)
    for row, text in enumerate(texts):
        alone = logits([text], row + 1)[0]
        exact = either.manifest.precision == "int8"
        tolerance = 0 if exact else 1e-5 * np.abs(alone).max()
        # until it ends: in a batch it then goes on with padding
        np.testing.assert_allclose(together[row, : len(alone)], alone, rtol=0, atol=tolerance)


def test_the_seed_and_the_place_of_a_text_make_the_answer(model: Model) -> None:
    def answers(**fields: Any) -> list[str]:
        return generate(model, [TEXTS[3]] * 4, sampling=Sampling(**fields), max_new_tokens=12)

    assert len(set(answers())) == 4
    assert answers() == answers(seed=1)
    assert not set(answers()) & set(answers(seed=2))


def test_one_choice_is_greedy(model: Model, module_folders: list[Path]) -> None:
    adapter = load_adapter(module_folders[0])
    for loaded in (None, adapter):
        greedy = generate(model, TEXTS, adapter=loaded, max_new_tokens=12)
        for fields in ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1}, {"temperature": 1e-9}):
            assert generate(model, TEXTS, adapter=loaded, sampling=Sampling(**fields), max_new_tokens=12) == greedy


def test_a_strong_penalty_lets_no_token_come_twice(model: Model) -> None:
    for sampling in (Sampling(temperature=0, repetition_penalty=1000), Sampling(repetition_penalty=1000, seed=4)):
        for answer in generate(model, TEXTS, sampling=sampling, max_new_tokens=30):
            words = answer.split()
            assert len(words) == len(set(words))
    assert any(len(set(a.split())) < len(a.split()) for a in generate(model, TEXTS, max_new_tokens=30))


def test_forced_tokens_stay_and_count_as_said(bundle: Path, tmp_path: Path) -> None:
    forced = tmp_path / "forced"
    shutil.copytree(bundle, forced)
    record = json.loads((forced / MANIFEST).read_text())
    record["model"] |= {"forced_bos_token_id": 77, "forced_eos_token_id": 78}
    (forced / MANIFEST).write_text(json.dumps(record))
    sign(forced)
    model = load(forced, threads=1)
    sampling = Sampling(temperature=0, repetition_penalty=1000)
    for answer in generate(model, TEXTS, sampling=sampling, max_new_tokens=9):
        words = answer.split()
        assert words[0] == "w77"
        assert "w77" not in words[1:]
        assert len(words) < 9 or words[-1] == "w78"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling": {"temperature": 1}}, "sampling must be a Sampling or None"),
        ({"sampling": 0.7}, "sampling must be a Sampling or None, got 0.7"),
        ({"first": 0}, "first must be at least 1, got 0"),
        ({"stop": [""]}, "must not be empty"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_what_generate_and_stream_refuse(model: Model, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        generate(model, TEXTS, **options)
    with pytest.raises(SettingsError, match=words):
        stream(model, TEXTS[0], **options)  # at once, not with the first piece


def test_stream_takes_one_text(model: Model) -> None:
    for text in (TEXTS, None, b"w3", 3):
        with pytest.raises(SettingsError, match="text must be a text, got a"):
            stream(model, text)  # type: ignore[arg-type]


def test_the_names_are_public() -> None:
    assert {"Sampling", "stream", "generate"} <= set(edge_lorahub.__all__)


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        (("--temperature", 0.7), Sampling(temperature=0.7)),
        (("--top-k", 5), Sampling(top_k=5)),
        (("--top-p", 0.8), Sampling(top_p=0.8)),
        (("--min-p", 0.1, "--seed", 4), Sampling(min_p=0.1, seed=4)),
        (("--seed", 9), Sampling(seed=9)),
        (("--repetition-penalty", 1.4), Sampling(temperature=0, repetition_penalty=1.4)),
        (("--repetition-penalty", 1.4, "--seed", 1), Sampling(repetition_penalty=1.4)),
        (("--temperature", 0, "--top-p", 0.5), None),
        ((), None),
    ],
)  # fmt: skip
def test_the_options_of_the_command(
    run: Callable[..., Result], bundle: Path, model: Model, options: tuple[object, ...], sampling: Sampling | None
) -> None:
    expected = generate(model, TEXTS, sampling=sampling, max_new_tokens=8)
    arguments = ("generate", bundle, "--max-new-tokens", 8, *options)
    assert run(*arguments, *TEXTS).stdout.splitlines() == expected
    # each line alone, as it comes, has its own place
    assert run(*arguments, stdin="\n".join(TEXTS)).stdout.splitlines() == expected
    assert run(*arguments, "--batch-size", 3, stdin="\n".join(TEXTS)).stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--temperature", "nan"), "temperature must be a number from 0, got nan"),
        (("--temperature", "-1"), "temperature must be a number from 0, got -1.0"),
        (("--top-p", "1.5"), "top_p must be a number above 0 and at most 1, or None, got 1.5"),
        (("--top-p", "90"), "top_p must be"),
        (("--min-p", "inf"), "min_p must be"),
        (("--top-k", "0"), "top_k must be"),
        (("--repetition-penalty", "0"), "repetition_penalty must be"),
        (("--seed", "-1"), "seed must be"),
    ],
)
def test_a_number_out_of_its_range_is_one_line(
    fails: Callable[..., str], bundle: Path, options: tuple[str, ...], words: str
) -> None:
    assert words in fails("generate", bundle, "w3", *options)


def test_a_drawn_answer_is_shown_on_a_terminal_while_it_is_made(
    model: Model, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(temperature=0.9, seed=2)
    whole = generate(model, [TEXTS[3]], sampling=sampling, max_new_tokens=40)[0]
    stop = " ".join(whole.split()[-4:-2])
    options = ("--temperature", 0.9, "--seed", 2, "--stop", stop, "--max-new-tokens", 40)
    pieces = shown(monkeypatch, "generate", bundle, TEXTS[3], *options)
    assert "".join(pieces) == whole.partition(stop)[0] + "\n"
    assert len(pieces) > 5


def test_sampling_needs_nothing_but_numpy() -> None:
    code = "import sys, edge_lorahub.runtime.sampling; sys.exit(sum(m in sys.modules for m in ('torch', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
