"""Which prompt is used: the bundle's, an adapter's own, or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter, check_adapter
from ..composition.prompt_record import recorded_prompt
from ..errors import MissingPathError, SettingsError
from ..files.outputs import read_json
from .opened import OpenBundle

CHAT, PLAIN = "chat", "plain"
# What a file of a prompt may have.
FILE_KEYS = ("before", "after", "lead", "end", "system_before", "system_after")

# A prompt, the name of a format, or a file; None: the adapter's own, or the bundle's.
PromptFormat = Prompt | str | Path | None


def choose_prompt(
    bundle: OpenBundle, prompt: PromptFormat = None, system: str | None = None, adapter: Adapter | None = None
) -> Prompt:
    """The prompt to use with a bundle.

    prompt is "chat" (the bundle's chat template), "plain" (the texts alone), a JSON file with some of FILE_KEYS, or a
    Prompt. None: the one that the adapter was learned with, without an adapter's the bundle's template, and plain
    where it has none. system is a text for the prompt's place for one. Raises SettingsError, MissingPathError, or
    ModuleFileError for a damaged record.
    """
    check_adapter(adapter)
    own = None if adapter is None else recorded_prompt(adapter)
    chosen = own or bundle.manifest.prompt if prompt is None else _given(bundle, prompt)
    try:
        if system is not None:
            chosen = chosen.with_system(system)
        bundle.architecture.check_prompt(bundle, chosen)
    except SettingsError as error:
        raise SettingsError(f"{_name_of(bundle, prompt, own)}: {error}") from error
    return chosen


def read_prompt(path: Path) -> Prompt:
    """Reads a prompt from a JSON file. Raises SettingsError or MissingPathError."""
    try:
        record: Mapping[str, Any] = read_json(path, SettingsError)
    except MissingPathError:
        raise MissingPathError(
            f"{path}: no such file; a prompt's format is {CHAT}, {PLAIN}, or a JSON file with {FILE_KEYS[0]!r}, "
            f"{FILE_KEYS[1]!r}, ..."
        ) from None
    if strange := [key for key in record if key not in FILE_KEYS]:
        raise SettingsError(f"{path}: {strange[0]!r:.80} is no part of a prompt; there are {', '.join(FILE_KEYS)}")
    if not record:
        raise SettingsError(f"{path}: empty; it takes at least one of {', '.join(FILE_KEYS)}")
    if empty := [key for key, value in record.items() if not isinstance(value, str)]:
        raise SettingsError(f"{path}: {empty[0]} must be a text, got {record[empty[0]]!r:.80}")
    try:
        return Prompt(**record)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def _given(bundle: OpenBundle, prompt: Prompt | str | Path) -> Prompt:
    if isinstance(prompt, Prompt):
        return prompt
    if not isinstance(prompt, (str, Path)) or prompt == "":
        raise SettingsError(f"a prompt is {CHAT!r}, {PLAIN!r}, a file or a Prompt, got {prompt!r:.80}")
    if prompt == CHAT:
        if bundle.manifest.prompt.is_plain:
            raise SettingsError(
                f"{bundle.folder}: has no chat template; take the prompt format {PLAIN}, or a file with its texts"
            )
        return bundle.manifest.prompt
    return Prompt() if prompt == PLAIN else read_prompt(Path(prompt))


def _name_of(bundle: OpenBundle, prompt: PromptFormat, own: Prompt | None) -> str:
    """What a message calls the prompt that was chosen."""
    if isinstance(prompt, Prompt):
        return "the prompt that was given"
    if prompt is None and own is not None:
        return "the prompt that the adapter was learned with"
    if prompt == PLAIN or (prompt is None and bundle.manifest.prompt.is_plain):
        return f"the prompt format {PLAIN}"
    return f"{bundle.folder}: its chat template" if prompt in (None, CHAT) else str(prompt)
