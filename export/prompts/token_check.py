"""A frozen prompt beside the tokenizer: where answers end, and the start token."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tokenizers import Tokenizer

from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.tokenizer.start_tokens import start_tokens


def check_tokens(prompt: Prompt, where: str, tokenizer: Tokenizer, end_token_ids: Sequence[int]) -> None:
    """Raises CheckpointError where what follows an answer does not begin with an end token.

    Warns of a start token that the template writes twice, or that it lacks though the tokenizer puts it before a text.
    """
    after = tokenizer.encode(prompt.end, add_special_tokens=False).ids
    if not after or after[0] not in end_token_ids:
        ends = ", ".join(f"{tokenizer.id_to_token(one)!r} ({one})" for one in end_token_ids)
        found = f"{tokenizer.id_to_token(after[0])!r} ({after[0]})" if after else "nothing"
        raise CheckpointError(
            f"{where}: an answer ends with {prompt.end!r:.60}, of which the first token is {found} and not one that "
            f"ends an answer of this model, {ends}; name it as an eos_token_id in generation_config.json if it is "
            "one, or take another template, or none"
        )
    start = next(iter(start_tokens(tokenizer)), None)
    found_first = tokenizer.encode("".join(prompt.source("a")), add_special_tokens=False).ids
    if start is not None and found_first[:1] != [start]:
        warnings.warn(
            f"{where} has no {tokenizer.id_to_token(start)!r} at its start, which the tokenizer puts before any other "
            "text; as with transformers, prompts have none",
            EdgeLorahubWarning,
            stacklevel=4,
        )
    if start is not None and found_first[:2] == [start, start]:
        warnings.warn(
            f"{where} writes {tokenizer.id_to_token(start)!r} twice; as with transformers, prompts have it so",
            EdgeLorahubWarning,
            stacklevel=4,
        )
