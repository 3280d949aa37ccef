"""Names of base models, as modules and bundles say them: free text, of which some are paths."""

from __future__ import annotations

import re

# What those who convert a model add to its name: `flan-t5-xl-bnb-4bit`, `flan-t5-xxl-sharded-fp16`.
_COPY = re.compile(
    r"([-_.](unsloth|bnb|nf4|fp4|[48]-?bit|int[48]|gptq|awq|hqq|gguf|onnx|fp16|fp32|bf16|float16|float32|bfloat16|"
    r"sharded|safetensors|quantized))+$"
)
# The Hub's cache: `models--google--flan-t5-base/snapshots/0123...`
_CACHED = re.compile(r"(?:^|/)models--([^/]+)/snapshots/")


def public_name(base_model: str) -> str:
    """The name without what only one machine knows: a path's last part, or the Hub id that a cached path is of."""
    path = base_model.replace("\\", "/")
    if cached := _CACHED.search(path):
        return cached[1].replace("--", "/", 1)
    return path.rstrip("/").rpartition("/")[2] if _is_path(base_model) else base_model


def may_be_same(one: str, other: str) -> bool:
    """Whether two names may be of the same model: owners, capitals and a copy's precision do not count.

    A path can hold any model, so it may be of the same unless it is one in the Hub's cache. So may no name at all.
    """
    if any(not name or (_is_path(name) and not _CACHED.search(name.replace("\\", "/"))) for name in (one, other)):
        return True
    return _model(one) == _model(other)


def same_model(one: str, other: str) -> bool:
    """Whether two names say the same model: as `may_be_same`, but a path is what its last part says, and no name none.

    For a choice by the name alone, where what may be anything is not meant.
    """
    return bool(one and other) and _model(one) == _model(other)


def _is_path(name: str) -> bool:
    return "\\" in name or name.count("/") > 1 or name.endswith("/") or re.match(r"[/.~]|[A-Za-z]:", name) is not None


def _model(name: str) -> str:
    return _COPY.sub("", public_name(name).rpartition("/")[2].lower())
