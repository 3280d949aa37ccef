"""What becomes of the system texts of conversations: a part of the prompt, or of the inputs, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExamplesError, SettingsError
from .options import options_of_command

if TYPE_CHECKING:
    from ..bundle.prompt import Prompt
    from ..examples.example import Example
    from ..runtime.opened import OpenBundle


def place_system(
    path: Path, examples: Sequence[Example], systems: Sequence[str], bundle: OpenBundle, prompt: Prompt,
    given: str | None,
) -> tuple[list[Example], Prompt]:  # fmt: skip
    """The examples and the prompt with the system texts of a file's conversations; given: that of --system.

    In a prompt with a place for one it is put there, and must be the same in all conversations. A chat template without
    such a place refuses it. Without a template it stands before the input, of which a warning tells. Raises
    ExamplesError or SettingsError.
    """
    from ..examples.example import joined

    if not any(systems):
        return list(examples), prompt
    if not prompt.takes_system:
        if bundle.manifest.prompt.is_plain or prompt.is_plain:
            return joined(path, examples, systems), prompt
        plain = ", or take --prompt-format plain, where it stands before that"
        raise ExamplesError(
            f"{path}: a conversation has a system text, and the prompt has no place for one; put it into the user's "
            f"text{plain if 'prompt_format' in options_of_command() else ''}"
        )
    found = sorted(set(systems))
    if len(found) > 1:
        what = "conversations with a system text and without one" if "" in found else "several system texts"
        raise ExamplesError(f"{path}: {what}, and a prompt has one; make a file of each")
    if given is not None and given != found[0]:
        raise SettingsError(
            f"{path}: its conversations have a system text, and --system has another; leave one of them out"
        )
    try:
        return list(examples), prompt.with_system(found[0])
    except SettingsError as error:
        raise ExamplesError(f"{path}: {error}") from error
