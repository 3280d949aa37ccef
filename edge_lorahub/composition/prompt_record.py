"""The prompt in an adapter's record: the texts around inputs and outputs that it was learned with."""

from __future__ import annotations

import warnings
from dataclasses import asdict

from ..bundle.prompt import Prompt
from ..errors import EdgeLorahubWarning
from ..lora.modules import Modules
from .adapter import Adapter
from .record import Record
from .record_file import OldRecordError, read_record


def recorded_prompt(adapter: Adapter) -> Prompt | None:
    """The prompt that an adapter was learned with, None for one without a record."""
    return None if adapter.record is None else adapter.record.prompt


def warn_of_other_prompt(adapter: Adapter | None, prompt: Prompt) -> None:
    """Warns, once, of all that differs between the prompt that an adapter was learned with and this one."""
    if adapter is not None:
        _warn(adapter.name, adapter.record, prompt)


def warn_of_prompt_other_than(name: str, record: Record, prompt: Prompt) -> None:
    """The same of an adapter of which there is only the record."""
    _warn(name, record, prompt)


def warn_of_modules_prompts(modules: Modules, prompt: Prompt) -> None:
    """The same of modules that are adapters of ours."""
    for module in modules:
        try:
            record = read_record(module)
        except OldRecordError:  # it has no prompt to compare
            continue
        _warn(module.name, record, prompt)


def _warn(name: str, record: Record | None, prompt: Prompt) -> None:
    if record is None:
        return
    there, here = asdict(record.prompt.applied), asdict(prompt.applied)
    if others := [f"{key} {there[key]!r:.60} (here {here[key]!r:.60})" for key in there if there[key] != here[key]]:
        warnings.warn(
            f"{name}: learned with another prompt than it is used with: {', '.join(others)}",
            EdgeLorahubWarning,
            stacklevel=4,
        )
