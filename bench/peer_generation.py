"""Greedy answers by transformers, optimum, CTranslate2 and the runtime, in turn, from the same checkpoint.

Of a decoder-only model by transformers and the runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Example, load, read_examples
from edge_lorahub.bundle.architectures import DECODER_ONLY
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import EdgeLorahubError
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.runtime.binding import Runner

from .peer_inputs import Inputs
from .report import Row, median_ms

_NEW_TOKENS = 32
_TRUTH = "transformers fp32"


def generation(inputs: Inputs, threads: int, rounds: int) -> list[Row]:
    """One text, greedily, to a fixed number of tokens; the end token is not let through."""
    text = read_examples(inputs.examples)[0]
    everyone = _generators(inputs, threads, text)
    seconds: dict[str, list[float]] = {name: [] for name in everyone}
    answers: dict[str, list[int]] = {}
    for turn in range(rounds + 1):
        for name, generate in everyone.items():
            answers[name] = generate(_NEW_TOKENS)
            times = []
            for count in (1, _NEW_TOKENS + 1):
                start = time.perf_counter()
                generate(count)
                times.append(time.perf_counter() - start)
            if turn:
                seconds[name].append((times[1] - times[0]) / _NEW_TOKENS)
    truth = answers[_TRUTH]
    for name, answer in answers.items():
        # int8 of random weights may choose another word; float32 may not
        if len(answer) != len(truth) or ("fp32" in name and answer != truth):
            raise EdgeLorahubError(f"{name} answers {answer}, and transformers {truth}")
    ours = np.median(seconds["edge-lorahub int8"])
    return [
        {
            "who": name,
            "a token, ms": median_ms(found),
            "tokens/s": round(1 / float(np.median(found)), 1),
            "it / edge-lorahub int8": round(float(np.median(found) / ours), 2),
            "same tokens": f"{sum(a == b for a, b in zip(answers[name], truth, strict=True))} of {len(truth)}",
        }
        for name, found in seconds.items()
    ]


def _generators(inputs: Inputs, threads: int, text: Example) -> dict[str, Callable[[int], list[int]]]:
    """By name: the ids of an answer of so many tokens."""
    runners = {
        precision: Runner(load(bundle, threads=threads), "generate", plain_inputs((), "none"))
        for precision, bundle in inputs.bundles.items()
    }
    model = runners["fp32"].model
    ids = model.bundle.encode([text], 2048, 256).sources[0][None]

    def ours(runner: Runner) -> Callable[[int], list[int]]:
        def generate(count: int) -> list[int]:
            return [int(i) for i in decode(runner, ids, count)]

        return generate

    everyone = {f"edge-lorahub {precision}": ours(runner) for precision, runner in runners.items()}
    if model.manifest.architecture == DECODER_ONLY:
        from .torch_decoder import torch_generator

        return {_TRUTH: torch_generator(inputs.checkpoint, ids), **everyone}
    return _seq2seq_generators(inputs, threads, ids) | everyone


def _seq2seq_generators(inputs: Inputs, threads: int, ids: NDArray[np.int64]) -> dict[str, Callable[[int], list[int]]]:
    """Those of others, by name."""
    import ctranslate2
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM
    from transformers import AutoModelForSeq2SeqLM

    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.ones(ids.shape, dtype=torch.int64)}

    def of_transformers(model: Any) -> Callable[[int], list[int]]:
        def generate(count: int) -> list[int]:
            with torch.no_grad():
                found = model.generate(**batch, max_new_tokens=count, min_new_tokens=count, do_sample=False)
            return [int(i) for i in found[0, 1:]]

        return generate

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    exported = inputs.work / f"{inputs.checkpoint.name}.optimum"
    if not (exported / "config.json").is_file():
        ORTModelForSeq2SeqLM.from_pretrained(inputs.checkpoint, export=True, trust_remote_code=False).save_pretrained(
            exported
        )
    converted = inputs.work / f"{inputs.checkpoint.name}.ct2"
    if not (converted / "model.bin").is_file():
        converter = ctranslate2.converters.TransformersConverter(str(inputs.checkpoint))
        converter.convert(str(converted), quantization="int8", force=True)
    translator = ctranslate2.Translator(
        str(converted), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
    )
    words = [f"w{i}" if i > 2 else "</s>" for i in ids[0]]

    def of_ctranslate2(count: int) -> list[int]:
        found = translator.translate_batch(
            [words], beam_size=1, min_decoding_length=count, max_decoding_length=count
        )[0]  # fmt: skip
        return [int(word[1:]) if word.startswith("w") else -1 for word in found.hypotheses[0]]

    return {
        _TRUTH: of_transformers(
            AutoModelForSeq2SeqLM.from_pretrained(inputs.checkpoint, trust_remote_code=False).eval()
        ),
        "optimum fp32": of_transformers(ORTModelForSeq2SeqLM.from_pretrained(exported, session_options=options)),
        "CTranslate2 int8": of_ctranslate2,
    }


def decode(runner: Any, ids: NDArray[np.int64], count: int) -> Sequence[int]:
    """Greedy decoding of one text (1, T) to a number of tokens, whatever they are but the end token."""
    model = runner.model
    decoding = model.architecture.decoding(runner, [ids[0]], model.architecture.cache(model.manifest))
    found: list[int] = []
    for _ in range(count):
        logits = (decoding.step(np.array(found[-1:], np.int64)) if found else decoding.start())[0]
        logits[model.manifest.model.eos_token_id] = -np.inf
        found.append(int(logits.argmax()))
    return found
