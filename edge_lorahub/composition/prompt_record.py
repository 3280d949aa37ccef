"""The prompt in an adapter's record: the texts around inputs and outputs that it was learned with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..bundle.prompt import Prompt
from ..errors import EdgeLorahubWarning, ModuleFileError
from ..lora.modules import Modules
from .adapter import Adapter, read_record

# Its key in the record.
PROMPT = "prompt"


def prompt_record(prompt: Prompt) -> dict[str, Any]:
    """What the record has of a prompt."""
    return asdict(prompt)


def recorded_prompt(adapter: Adapter) -> Prompt | None:
    """The prompt that an adapter was learned with, None where its record has none. Raises ModuleFileError."""
    return _recorded(adapter.name, adapter.record)


def warn_of_other_prompt(adapter: Adapter | None, prompt: Prompt) -> None:
    """Warns, once, of all that differs between the prompt that an adapter was learned with and this one."""
    if adapter is not None:
        _warn(adapter.name, adapter.record, prompt)


def warn_of_modules_prompts(modules: Modules, prompt: Prompt) -> None:
    """The same of modules that are adapters of ours."""
    for module in modules:
        _warn(module.name, read_record(module), prompt)


def _recorded(name: str, record: Mapping[str, Any]) -> Prompt | None:
    found = record.get(PROMPT)
    if found is None:
        return None
    try:
        return Prompt.of(found)
    except (TypeError, ValueError) as error:
        raise ModuleFileError(
            f"{name}: the prompt in its record cannot be used ({error}); copy the adapter again, or update edge-lorahub"
        ) from error


def _warn(name: str, record: Mapping[str, Any], prompt: Prompt) -> None:
    own = _recorded(name, record)
    if own is None:
        return
    there, here = asdict(own.applied), asdict(prompt.applied)
    if others := [f"{key} {there[key]!r:.60} (here {here[key]!r:.60})" for key in there if there[key] != here[key]]:
        warnings.warn(
            f"{name}: learned with another prompt than it is used with: {', '.join(others)}",
            EdgeLorahubWarning,
            stacklevel=4,
        )
