"""Start, end and forced tokens: generation_config.json first, then config.json."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import sign
from click.testing import Result

from edge_lorahub import generate, load
from edge_lorahub.bundle.manifest import MANIFEST, read_manifest
from edge_lorahub.errors import BundleError, CheckpointError, EdgeLorahubWarning
from edge_lorahub.export import export
from edge_lorahub.export.source.generation_config import SpecialTokens, read_special_tokens, token_files
from edge_lorahub.testing.random_models import write_checkpoint

VOCABULARY = 128
PLAIN = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def read(folder: Path, config: dict[str, object], generation: dict[str, object] | None = None) -> SpecialTokens:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        return read_special_tokens(token_files(folder), VOCABULARY)


def test_config_json_alone(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN) == SpecialTokens(0, 0, (1,), None, None)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({}, {**PLAIN, "decoder_start_token_id": 7}, SpecialTokens(7, 0, (1,), None, None)),
        ({"decoder_start_token_id": None}, {"decoder_start_token_id": 7}, SpecialTokens(7, 0, (1,), None, None)),
        (PLAIN, {}, SpecialTokens(0, 0, (1,), None, None)),
        (PLAIN, {"eos_token_id": [1, 5]}, SpecialTokens(0, 0, (1, 5), None, None)),
        ({**PLAIN, "eos_token_id": [1, 9]}, {"eos_token_id": None}, SpecialTokens(0, 0, (1, 9), None, None)),
        ({**PLAIN, "pad_token_id": 3}, {"pad_token_id": 4}, SpecialTokens(0, 4, (1,), None, None)),
        ({"bos_token_id": 6}, {}, SpecialTokens(6, 0, (1,), None, None)),
        ({**PLAIN, "forced_bos_token_id": 8}, {}, SpecialTokens(0, 0, (1,), 8, None)),
        (PLAIN, {"forced_bos_token_id": 8, "forced_eos_token_id": [9, 1]}, SpecialTokens(0, 0, (1,), 8, 1)),
        (PLAIN, {"num_beams": 1, "do_sample": False, "temperature": 0.3, "max_length": 20, "suppress_tokens": []},
         SpecialTokens(0, 0, (1,), None, None)),
    ],
)  # fmt: skip
def test_generation_config_goes_first(
    config: dict[str, object], generation: dict[str, object], expected: SpecialTokens, tmp_path: Path
) -> None:
    assert read(tmp_path, config, generation) == expected


@pytest.mark.parametrize(
    ("config", "generation", "words"),
    [
        ({}, None, "has a decoder_start_token_id; its padding token .0. is used"),
        (PLAIN, {"decoder_start_token_id": 7}, "decoder_start_token_id is 7, and 0 in config.json; the former is used"),
        (PLAIN, {"num_beams": 4, "repetition_penalty": 1.2}, "num_beams 4, repetition_penalty 1.2: not used"),
        ({**PLAIN, "no_repeat_ngram_size": 3}, None, "config.json: no_repeat_ngram_size 3: not used"),
        (
            PLAIN,
            {"guidance_scale": 1.5, "penalty_alpha": 0.6, "top_k": 4},
            "guidance_scale 1.5, penalty_alpha 0.6: not",
        ),
        (PLAIN, {"watermarking_config": {"bias": 2.0}}, "watermarking_config {.*}: not used"),
        (PLAIN, {"force_words_ids": [[5]], "constraints": [1]}, "force_words_ids .*, constraints .*: not used"),
        (PLAIN, {"dola_layers": "high", "max_new_tokens": 5}, "dola_layers 'high', max_new_tokens 5: not used"),
        (PLAIN, {"num_beam_groups": 2, "diversity_penalty": 0.5}, "num_beam_groups 2, diversity_penalty 0.5: not used"),
        (PLAIN, {"max_time": 3.0, "token_healing": True}, "max_time 3.0, token_healing True: not used"),
        (PLAIN, {"min_length": 0, "of_a_newer_version": 0}, "of_a_newer_version 0: not used"),
        (PLAIN | {"penalty_alpha": 0.6, "of_the_model": 1}, None, "config.json: penalty_alpha 0.6: not used"),
        (PLAIN, {"begin_suppress_tokens": [5]}, "begin_suppress_tokens .5.: not used"),
    ],
)
def test_what_is_not_honored_is_a_warning(
    config: dict[str, object], generation: dict[str, object] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgeLorahubWarning, match=words):
        read(tmp_path, config, generation)


def test_the_defaults_of_transformers_are_not_warned_of(tmp_path: Path) -> None:
    """As 4.57 writes them with to_json_file(use_diff=False)."""
    defaults = {
        "max_length": 20, "max_new_tokens": None, "min_length": 0, "early_stopping": False, "do_sample": False,
        "num_beams": 1, "use_cache": True, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
        "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0,
        "length_penalty": 1.0, "no_repeat_ngram_size": 0, "renormalize_logits": False, "remove_invalid_values": False,
        "token_healing": False, "guidance_scale": None, "num_return_sequences": 1, "output_attentions": False,
        "encoder_no_repeat_ngram_size": 0, "is_assistant": False, "num_assistant_tokens": 20,
        "num_assistant_tokens_schedule": "constant", "assistant_confidence_threshold": 0.4, "assistant_lookbehind": 10,
        "target_lookbehind": 10, "disable_compile": False, "diversity_penalty": 0.0, "num_beam_groups": 1,
        "_from_model_config": False, "transformers_version": "4.57.6",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, PLAIN, PLAIN | defaults)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"eos_token_id": "1"}, "generation_config.json: eos_token_id must be a whole number of at least 0, got '1'"),
        ({"eos_token_id": [1, -1]}, "eos_token_id must be a whole number of at least 0, got -1"),
        ({"eos_token_id": []}, "eos_token_id is an empty list, so nothing would end an answer"),
        ({"eos_token_id": 128}, "eos_token_id is 128, but the model's vocab_size is 128"),
        ({"decoder_start_token_id": [0]}, "decoder_start_token_id must be a whole number"),
        ({"forced_bos_token_id": 1000}, "forced_bos_token_id is 1000, but"),
        ({"pad_token_id": True}, "pad_token_id must be a whole number of at least 0, got True"),
    ],
)
def test_tokens_that_are_none(fields: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path, PLAIN, fields)


def answer(checkpoint: Path, out: Path, new_tokens: int = 12, **fields: object) -> list[str]:
    """The words of the answer to one text, of a bundle whose generation_config.json has those fields."""
    (checkpoint / "generation_config.json").write_text(json.dumps(PLAIN | fields))
    export(checkpoint, out, force=True)
    return generate(load(out, threads=1), ["w9 w8 w7"], max_new_tokens=new_tokens)[0].split()


def test_the_first_of_several_end_tokens_ends_an_answer(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    plain = answer(checkpoint, tmp_path / "bundle")
    assert len(set(plain)) > 6, plain
    one, other = plain[3], plain[5]
    ends = [1, int(other[1:]), int(one[1:])]
    assert answer(checkpoint, tmp_path / "bundle", eos_token_id=ends) == plain[: min(map(plain.index, (one, other)))]
    assert read_manifest(tmp_path / "bundle").model.end_token_ids == tuple(ends)
    # the tokenizer's end token still ends what is encoded
    assert read_manifest(tmp_path / "bundle").model.eos_token_id == 1


def test_forced_tokens(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    plain = answer(checkpoint, tmp_path / "bundle")
    first = answer(checkpoint, tmp_path / "bundle", forced_bos_token_id=99)
    assert first[0] == "w99"
    assert plain[0] != "w99"
    assert answer(checkpoint, tmp_path / "bundle", forced_eos_token_id=1) == plain[:-1]
    assert answer(checkpoint, tmp_path / "bundle", 1, forced_bos_token_id=99, forced_eos_token_id=98) == ["w98"]


def test_the_tokenizer_must_end_with_one_of_them(tmp_path: Path, fails: Callable[..., str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    line = fails("export", checkpoint, tmp_path / "bundle")
    assert "does not end a text with the model's end token (id 5 or 6)" in line


@pytest.mark.parametrize("value", [3, "1", [1, "2"], [-1], [], None])
def test_a_manifest_with_other_end_tokens_is_refused(value: object, bundle: Path, tmp_path: Path) -> None:
    record = json.loads((bundle / MANIFEST).read_text())
    record["model"]["end_token_ids"] = value
    for file in bundle.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / MANIFEST).unlink()
    (tmp_path / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(BundleError, match="end_token_ids is"):
        read_manifest(tmp_path)


def test_a_bundle_without_the_optional_fields_is_read(bundle: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """Nothing forced, texts of any length."""
    record = json.loads((bundle / MANIFEST).read_text())
    for name in ("forced_bos_token_id", "forced_eos_token_id", "longest_input", "longest_output"):
        del record["model"][name]
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps(record))
    sign(tmp_path)
    model = read_manifest(tmp_path).model
    assert (model.forced_bos_token_id, model.forced_eos_token_id) == (None, None)
    assert (model.longest_input, model.longest_output) == (None, None)
    assert run("generate", tmp_path, "w3").output == run("generate", bundle, "w3").output
