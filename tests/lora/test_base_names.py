"""Base models' names: copies and paths are no strangers, and paths are not given away."""

from __future__ import annotations

import pytest

from edge_lorahub.lora.base_names import may_be_same, public_name

CACHED = (
    "/home/someone/.cache/huggingface/hub/models--google--flan-t5-base/snapshots/7bcac572ce56db69c1ea7c8af255c5d7c9"
)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("google/flan-t5-base", "google/flan-t5-base"),
        ("t5-small", "t5-small"),
        ("", ""),
        ("/data/models/flan-t5-base", "flan-t5-base"),
        ("/data/models/flan-t5-base/", "flan-t5-base"),
        ("./flan", "flan"),
        ("../flan", "flan"),
        ("~/flan", "flan"),
        ("my/models/flan", "flan"),
        ("models/", "models"),
        ("C:\\Users\\me\\flan", "flan"),
        ("C:/Users/me/flan", "flan"),
        ("/größe/modèle 1", "modèle 1"),
        (CACHED, "google/flan-t5-base"),
        (CACHED.replace("google--flan-t5-base", "t5-small"), "t5-small"),
        (CACHED.replace("/", "\\"), "google/flan-t5-base"),
    ],
)
def test_a_path_is_not_given_away(name: str, public: str) -> None:
    assert public_name(name) == public


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("google/flan-t5-base", True),
        ("flan-t5-base", True),
        ("someone/Flan-T5-Base", True),
        ("unsloth/flan-t5-base-bnb-4bit", True),
        ("unsloth/flan-t5-base-unsloth-bnb-4bit", True),
        ("someone/flan-t5-base-sharded-fp16", True),
        ("someone/flan-t5-base-8bit", True),
        ("someone/flan-t5-base-int8", True),
        ("someone/flan-t5-base-GPTQ", True),
        ("/data/models/checkpoint-500", True),
        ("./out", True),
        ("C:\\out", True),
        ("", True),
        (CACHED, True),
        (CACHED.replace("flan-t5-base", "t5-v1_1-base"), False),
        ("google/flan-t5-large", False),
        ("google/t5-v1_1-base", False),
        ("unsloth/flan-t5-large-bnb-4bit", False),
        ("someone/flan-t5-base-samsum", False),
        ("bnb-4bit", False),
    ],
)
def test_which_names_may_be_of_one_model(other: str, same: bool) -> None:
    assert may_be_same("google/flan-t5-base", other) == may_be_same(other, "google/flan-t5-base") == same
