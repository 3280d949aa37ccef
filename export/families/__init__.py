"""The families of models that can be exported, one file or folder each, chosen by config.json's model_type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import gemma, gemma2, gemma3, granite, llama, mistral, qwen2, qwen3
from .config_refusals import refuse_other_kinds, unknown_family
from .protocol import Family
from .t5 import t5_family

_FAMILIES: tuple[Family[Any], ...] = (
    t5_family.FAMILY,
    llama.FAMILY,
    mistral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    gemma.FAMILY,
    gemma2.FAMILY,
    gemma3.FAMILY,
    granite.FAMILY,
)
FAMILIES: Mapping[str, Family[Any]] = {name: family for family in _FAMILIES for name in family.model_types}


def find_family(fields: Mapping[str, Any], path: Path) -> Family[Any]:
    """The family of a config.json. Raises CheckpointError for one that is not supported, saying why."""
    model_type = fields.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        refuse_other_kinds(fields, path)
        raise unknown_family(fields, path, sorted(FAMILIES))
    return family
