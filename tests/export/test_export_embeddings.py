"""The embedding and the head, in every layout in which a file may hold them.

The truth is the checkpoint that has each of them once under its usual name: the same bundle must come out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  # numpy's bfloat16
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export import export
from edge_lorahub.tensors.safetensors_file import Float32
from edge_lorahub.testing import random_models

SHARED, HEAD = "shared.weight", "lm_head.weight"
ENCODER, DECODER = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
TIED, UNTIED, MT5 = "tiny-t5", "tiny", "tiny-mt5"


def without(tensors: Mapping[str, Float32], *names: str) -> dict[str, Float32]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


Plain = dict[str, tuple[dict[str, Float32], dict[str, str]]]


def digests(folder: Path, size: str, tensors: Mapping[str, Float32], **fields: object) -> dict[str, str]:
    """Of the bundle of a checkpoint with those tensors, and with those fields in config.json; None takes one out."""
    random_models.write_checkpoint(folder / "checkpoint", size)
    save_file(dict(tensors), folder / "checkpoint" / "model.safetensors")
    settings = {k: v for k, v in (random_models.config(size) | fields).items() if v is not None}
    (folder / "checkpoint" / "config.json").write_text(json.dumps(settings))
    return export(folder / "checkpoint", folder / "bundle").sha256


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """Size -> the tensors of its checkpoint, and the digests of its bundle."""
    found = {}
    for size in (TIED, UNTIED, MT5):
        folder = tmp_path_factory.mktemp(size)
        tensors = load_file(random_models.write_checkpoint(folder / "first", size) / "model.safetensors")
        found[size] = tensors, digests(folder, size, tensors)
    return found


@pytest.mark.parametrize(
    ("size", "fields"),
    [
        # as transformers 5 saves a T5 1.1, a T5 1.0 and an mT5
        (UNTIED, {"tie_word_embeddings": True, "scale_decoder_outputs": False, "transformers_version": "5.2.0"}),
        (TIED, {"tie_word_embeddings": True, "scale_decoder_outputs": True, "transformers_version": "5.2.0"}),
        (MT5, {"tie_word_embeddings": True, "transformers_version": "5.2.0"}),
        # a version 5 that has no word of the scale
        (UNTIED, {"tie_word_embeddings": True, "transformers_version": "5.0.0.dev0"}),
        # the settings of transformers 4, where what is the default may be left out
        (TIED, {"tie_word_embeddings": None}),
        (MT5, {"tie_word_embeddings": None}),
    ],
)
def test_the_file_decides(size: str, fields: dict[str, object], plain: Plain, tmp_path: Path) -> None:
    tensors, expected = plain[size]
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        assert digests(tmp_path, size, tensors, **fields) == expected


@pytest.mark.parametrize("size", [TIED, MT5])
@pytest.mark.parametrize("dtypes", [("float16", "float32"), ("bfloat16", "float32"), ("float32", "bfloat16")])
def test_a_tied_head_in_another_precision(size: str, dtypes: tuple[str, str], plain: Plain, tmp_path: Path) -> None:
    """dtypes: the head's and the embedding's."""
    head, embedding = map(np.dtype, dtypes)
    tensors = dict(plain[size][0])
    given = tensors[SHARED].astype(embedding)
    fields = {"tie_word_embeddings": True}
    expected = digests(tmp_path / "alone", size, without(tensors | {SHARED: given}, HEAD), **fields)
    copies = without(tensors, DECODER, ENCODER) | {SHARED: given, HEAD: tensors[SHARED].astype(head)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        assert digests(tmp_path / "both", size, copies, **fields) == expected


def test_a_head_in_another_precision_that_is_not_tied_is_its_own(plain: Plain, tmp_path: Path) -> None:
    tensors = plain[UNTIED][0]
    rounded = {name: tensors[SHARED].astype(np.float16).astype(np.float32) for name in (HEAD,)}
    as_float16 = {HEAD: rounded[HEAD].astype(np.float16)}
    assert digests(tmp_path / "half", UNTIED, tensors | as_float16) == digests(
        tmp_path / "single", UNTIED, tensors | rounded
    )


@pytest.mark.parametrize("fields", [{"tie_word_embeddings": True}, {"tie_word_embeddings": None}])
def test_a_head_that_contradicts_an_old_configuration_is_used_with_a_warning(
    fields: dict[str, object], plain: Plain, tmp_path: Path
) -> None:
    tensors, expected = plain[UNTIED]
    with pytest.warns(EdgeLorahubWarning, match="is in the file and differs from it; the file's is used"):
        assert digests(tmp_path, UNTIED, tensors, **fields) == expected


@pytest.mark.parametrize("size", [TIED, UNTIED, MT5])
@pytest.mark.parametrize("names", [(ENCODER, DECODER), (ENCODER,), (DECODER,), (SHARED, DECODER), (SHARED, ENCODER)])
def test_the_embedding_under_other_names(size: str, names: tuple[str, ...], plain: Plain, tmp_path: Path) -> None:
    tensors, expected = plain[size]
    embedding = {name: tensors[SHARED].copy() for name in names}
    others = {name: array for name, array in tensors.items() if name != SHARED}
    assert digests(tmp_path, size, others | embedding) == expected


def test_the_head_is_the_embedding_where_it_is_tied(plain: Plain, tmp_path: Path) -> None:
    tensors, expected = plain[TIED]
    renamed = {HEAD if name == SHARED else name: array for name, array in tensors.items()}
    assert digests(tmp_path, TIED, renamed) == expected


@pytest.mark.parametrize(
    ("names", "fields", "words"),
    [
        ((), {}, "no embedding: none of the tensors shared.weight, encoder.embed_tokens.weight, decoder.embed"),
        (
            (SHARED,),
            {},
            "tensor lm_head.weight is missing, and config.json does not say that the head is the embedding",
        ),
        ((HEAD,), {}, "no embedding: none of the tensors"),
        ((SHARED, ENCODER, HEAD), {ENCODER: 1.5}, "tensors shared.weight and encoder.embed_tokens.weight differ"),
        (
            (ENCODER, DECODER, HEAD),
            {DECODER: 2.0},
            "encoder.embed_tokens.weight and decoder.embed_tokens.weight differ",
        ),
    ],
)
def test_what_is_not_one_embedding_and_a_head_is_refused(
    names: tuple[str, ...], fields: dict[str, float], words: str, plain: Plain, tmp_path: Path
) -> None:
    """fields: names of tensors that are so many times the embedding."""
    tensors, _ = plain[UNTIED]
    parts = {name: (tensors[HEAD] if name == HEAD else tensors[SHARED]).copy() for name in names}
    for name, factor in fields.items():
        parts[name] = tensors[SHARED].copy()
        parts[name][-1, -1] *= np.float32(factor)  # the last number alone
    others = {name: array for name, array in tensors.items() if name not in (SHARED, HEAD)}
    with pytest.raises(CheckpointError, match=words):
        digests(tmp_path, UNTIED, others | parts)
    assert not (tmp_path / "bundle").exists()


def test_embeddings_are_compared_in_parts(plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 rows of 32 numbers, some rows at a time, of which the last part is smaller."""
    tensors, expected = plain[TIED]
    monkeypatch.setattr("edge_lorahub.export.source.checkpoint._COMPARED", 32 * 7)
    assert digests(tmp_path, TIED, {**tensors, HEAD: tensors[SHARED].copy()}) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name",
    [SHARED, HEAD, "decoder.final_layer_norm.weight", "encoder.block.1.layer.1.DenseReluDense.wo.weight",
     "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"],
)  # fmt: skip
def test_numbers_that_are_not_finite_are_refused_by_tensor(
    name: str, value: float, plain: Plain, tmp_path: Path
) -> None:
    tensors = plain[UNTIED][0] | {name: plain[UNTIED][0][name].copy()}
    tensors[name].flat[-1] = value
    with pytest.raises(CheckpointError, match=rf"model.safetensors: tensor {name} has numbers that are not finite"):
        digests(tmp_path, UNTIED, tensors)
    assert not (tmp_path / "bundle").exists()


def test_numbers_too_large_for_float32_are_refused(plain: Plain, tmp_path: Path) -> None:
    tensors = plain[UNTIED][0] | {HEAD: plain[UNTIED][0][HEAD].astype(np.float64)}
    tensors[HEAD][3, 3] = 1e300
    with pytest.raises(CheckpointError, match=r"tensor lm_head.weight has numbers that are not finite in float32"):
        digests(tmp_path, UNTIED, tensors)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
def test_a_wrappers_prefix_is_named(prefix: str, plain: Plain, tmp_path: Path) -> None:
    wrapped = {prefix + name: array for name, array in plain[UNTIED][0].items()}
    with pytest.raises(CheckpointError, match=f"names begin with '{prefix}', as a wrapper's do"):
        digests(tmp_path, UNTIED, wrapped)
