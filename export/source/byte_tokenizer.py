"""ByT5's tokenizer, which has no files: the bytes of UTF-8 (Xue et al., arXiv 2105.13626)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, processors

from edge_lorahub.errors import CheckpointError

from .added_tokens import MOST_TOKENS
from .json_fields import whole

# These, the bytes, and then <extra_id_0> and so on.
_BYTE_SPECIAL = ("<pad>", "</s>", "<unk>")
_BYTE_IDS = len(_BYTE_SPECIAL) + 256
_EXTRA_IDS = 125


def byte_tokenizer(extra_ids: int) -> Tokenizer:
    """ByT5's tokenizer, which has no files: three special tokens, the 256 bytes of UTF-8, and <extra_id_...>."""
    special = [AddedToken(name, lstrip=True, rstrip=True) for name in _BYTE_SPECIAL]
    special += [AddedToken(f"<extra_id_{index}>") for index in range(extra_ids)]
    names = [*_BYTE_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    ids = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(special)
    return tokenizer


def count_extra_ids(settings: Mapping[str, Any], path: Path) -> int:
    """How many <extra_id_...> a ByT5 tokenizer has; other tokens that were added to it are refused."""
    added = settings.get("added_tokens_decoder")
    if not isinstance(added, dict):
        count = whole(settings, "extra_ids", path, _EXTRA_IDS, least=0)
        if count > MOST_TOKENS:
            raise CheckpointError(f"{path}: extra_ids is {count}, more than any tokenizer has")
        return count
    names = {str(number): str(token.get("content")) for number, token in added.items() if isinstance(token, dict)}
    known = {str(index + _BYTE_IDS): f"<extra_id_{index}>" for index in range(len(names))}
    known |= {str(index): name for index, name in enumerate(_BYTE_SPECIAL)}
    if strange := [name for number, name in names.items() if known.get(number) != name]:
        raise CheckpointError(f"{path}: the token {strange[0]!r:.80}, added to ByT5's, is not supported")
    return len(names.keys() - set(map(str, range(_BYTE_IDS))))
