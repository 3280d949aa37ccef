"""A GGUF file's chat template."""

from __future__ import annotations

from tokenizers import Tokenizer

from ..source.chat_templates import DEFAULT, NONE, ChatTemplate, chosen_template
from .gguf_source import GgufSource


def gguf_template(source: GgufSource, choice: str | None = None) -> ChatTemplate | None:
    """As `chat_templates.find_template`; the default template alone is read."""
    if choice == NONE:
        return None
    named = {} if source.chat_template is None else {DEFAULT: (source.chat_template, "its chat template")}
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    special = source.special
    ids = {"bos_token": special.bos, "eos_token": special.eos, "unk_token": special.unknown, "pad_token": special.pad}
    tokens = {name: None if number is None else tokenizer.id_to_token(number) for name, number in ids.items()}
    return chosen_template(named, choice, str(source.path), tokens)
