"""Where a model's chat template is, and the special tokens that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.reading import read_file

from .tokenizer_settings import OLDER_TOKENS, SETTINGS, read_settings

FILE = "chat_template.jinja"
NAMED = "additional_chat_templates"
# The template that is meant where a model has several.
DEFAULT = "default"
# What to export without a template.
NONE = "none"
# Templates may use these names; transformers gives them what the tokenizer has.
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# The longest templates, of models that call tools, have 30 KB.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, Jinja's text, and where it is from.

    tokens has the special tokens' texts by the names that templates call them, None for one that the tokenizer does not
    have; a name is missing where nothing says.
    """

    text: str
    where: str
    tokens: Mapping[str, str | None]


def find_template(folder: Path, choice: str | None = None) -> ChatTemplate | None:
    """The chat template of a Hugging Face checkpoint; None where it has none, or the choice is "none".

    As transformers 4 and 5 save them: chat_template in tokenizer_config.json, one text or a list of named ones, or
    chat_template.jinja and additional_chat_templates, which go first. choice is the name of one, or a Jinja file; None:
    the only one, or "default". Raises CheckpointError or MissingPathError.
    """
    if choice == NONE:
        return None
    path = folder / SETTINGS
    settings = read_settings(folder)
    named = _files(folder) or _listed(settings.get("chat_template"), path)
    return chosen_template(named, choice, str(folder), _tokens(folder, settings))


def chosen_template(
    named: Mapping[str, tuple[str, str]], choice: str | None, source: str, tokens: Mapping[str, str | None]
) -> ChatTemplate | None:
    """The one that is meant, of templates by name, each with what it is called in a message; source: what has them."""
    if choice is not None and choice not in named:
        path = Path(choice)
        if not path.is_file():
            raise CheckpointError(
                f"{source}: no chat template is called {choice!r:.80}, and there is no such file; "
                + (f"there are {', '.join(sorted(named))}" if named else "it has none")
            )
        return ChatTemplate(_text(path), str(path), tokens)
    if choice is None and not named:
        return None
    if choice is None and DEFAULT not in named and len(named) > 1:
        raise CheckpointError(
            f"{source}: several chat templates ({', '.join(sorted(named))}), and none is called {DEFAULT}; choose one, "
            f"or {NONE}"
        )
    name = choice or (DEFAULT if DEFAULT in named else next(iter(named)))
    text, what = named[name]
    return ChatTemplate(text, f"{source}: {what}", tokens)


def _files(folder: Path) -> dict[str, tuple[str, str]]:
    paths = {DEFAULT: folder / FILE} if (folder / FILE).exists() else {}
    if (folder / NAMED).is_dir():
        paths |= {path.stem: path for path in sorted((folder / NAMED).glob("*.jinja"))}
    return {name: (_text(path), str(path.relative_to(folder))) for name, path in paths.items()}


def _text(path: Path) -> str:
    data = read_file(path, CheckpointError, _LARGEST)
    try:
        # as Python reads a text file
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 text ({error})") from error


def _listed(value: Any, path: Path) -> dict[str, tuple[str, str]]:
    """chat_template in tokenizer_config.json."""
    if value is None:
        return {}
    pairs: list[tuple[Any, Any]] = [(DEFAULT, value)]
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(one.get("name"), one.get("template")) if isinstance(one, dict) else (None, None) for one in value]
    if not all(isinstance(name, str) and isinstance(text, str) and len(text) <= _LARGEST for name, text in pairs):
        raise CheckpointError(f"{path}: chat_template must be a text, or a list of templates with a name")
    found = {name: (text, f"chat_template in {SETTINGS}") for name, text in pairs}
    if len(found) < len(pairs):
        raise CheckpointError(f"{path}: two chat templates have the same name")
    return found


def _tokens(folder: Path, settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The special tokens' texts; from older checkpoints' own file for those that the settings do not name."""
    older = read_settings(folder, OLDER_TOKENS)
    found: dict[str, str | None] = {}
    for name in TOKENS:
        for fields in (settings, older):
            if name in fields and name not in found:
                value = fields[name]
                text = value.get("content") if isinstance(value, dict) else value
                if text is not None and not isinstance(text, str):
                    raise CheckpointError(f"{folder}: {name} must be a text, got {value!r:.80}")
                found[name] = text
    return found
