"""Tokenizers made from other files than tokenizer.json: SentencePiece's (T5, mT5), none (ByT5), byte pairs (CodeT5)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, processors

from edge_lorahub.bundle.manifest import TOKENIZER
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingDependencyError, MissingPathError
from edge_lorahub.files.outputs import is_lfs_pointer, lfs_message, read_json
from edge_lorahub.tokenizer.tokenizer_file import one_error

from .json_fields import whole

Encode = Callable[[str], list[int]]

_SETTINGS = "tokenizer_config.json"
_SENTENCEPIECE = "spiece.model"
_BYTE_PAIRS = ("vocab.json", "merges.txt")
# ByT5's tokens: these, the bytes, and then <extra_id_0> and so on.
_BYTE_SPECIAL = ("<pad>", "</s>", "<unk>")
_BYTE_IDS = len(_BYTE_SPECIAL) + 256
_EXTRA_IDS = 125
_MOST_EXTRA_IDS = 10_000
# Texts on which a conversion that goes wrong shows: the first word, spaces of all kinds, what is normalised, what no
# vocabulary has.
TEXTS = (
    "a",
    "",
    " ",
    " \n\t ",
    "translate English to German: That is good.",
    "12/14/2026, 3.14; 1,000 and $5",
    "  leading,  double   and trailing spaces  ",
    "tabs\tand\nnew\r\nlines\n\n",
    "ALL CAPS, camelCase, snake_case",
    "{braces} ~tilde \\backslash `tick` <b> a_b",
    "don't won\u2019t \u201cquoted\u201d \u2014 dash\u2026",
    "\u00c4pfel, na\u00efve caf\u00e9, \u00dcbergr\u00f6\u00dfe",
    "e\u0301 and \u00e9, \u00ad soft",
    "\ufb01ne ligatures, \uff46\uff55\uff4c\uff4c width, \u00bd and \u2460",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 and \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 and \u0939\u093f\u0928\u094d\u0926\u0940",
    "emoji \U0001f642 and a\u00a0no-break space, zero\u200bwidth, \u3000wide\u3000",
    "\u2581 the \u2581\u2581 mark of spaces",
    "\ufeffmark, control \x07 and \U0010fffd\ue000",
)


def convert(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint's folder, from whatever files of one it has.

    Raises MissingPathError where there are none, MissingDependencyError, or CheckpointError for files that cannot be
    read or that would give other ids than the library they were made with.
    """
    for name in (_SENTENCEPIECE, *_BYTE_PAIRS):
        if (folder / name).is_file() and is_lfs_pointer(folder / name):
            raise CheckpointError(lfs_message(folder / name))
    if (folder / _SENTENCEPIECE).is_file():
        return _from_sentencepiece(folder)
    if all((folder / name).is_file() for name in _BYTE_PAIRS):
        return _from_byte_pairs(folder)
    path, settings = _named(folder)
    if settings.get("tokenizer_class") == "ByT5Tokenizer":
        return byte_tokenizer(_extra_ids(settings, path))
    raise MissingPathError(
        f"{folder}: neither {TOKENIZER} nor {_SENTENCEPIECE} (T5), {' with '.join(_BYTE_PAIRS)} (CodeT5) or a "
        f"{_SETTINGS} of ByT5; copy the tokenizer's files there"
    )


def _named(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that names the tokenizer's class, the tokenizer's settings or the model's, and its fields."""
    for path in (folder / _SETTINGS, folder / "config.json"):
        settings = read_json(path, CheckpointError) if path.exists() else {}
        if settings.get("tokenizer_class"):
            return path, settings
    return folder / _SETTINGS, {}


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


def _extra_ids(settings: Mapping[str, Any], path: Path) -> int:
    """How many <extra_id_...> a ByT5 tokenizer has; other tokens that were added to it are refused."""
    added = settings.get("added_tokens_decoder")
    if not isinstance(added, dict):
        count = whole(settings, "extra_ids", path, _EXTRA_IDS, least=0)
        if count > _MOST_EXTRA_IDS:
            raise CheckpointError(f"{path}: extra_ids is {count}, more than any tokenizer has")
        return count
    names = {str(number): str(token.get("content")) for number, token in added.items() if isinstance(token, dict)}
    known = {str(index + _BYTE_IDS): f"<extra_id_{index}>" for index in range(len(names))}
    known |= {str(index): name for index, name in enumerate(_BYTE_SPECIAL)}
    if strange := [name for number, name in names.items() if known.get(number) != name]:
        raise CheckpointError(f"{path}: the token {strange[0]!r:.80}, added to ByT5's, is not supported")
    return len(names.keys() - set(map(str, range(_BYTE_IDS))))


def _from_sentencepiece(folder: Path) -> Tokenizer:
    """Through transformers, and compared with SentencePiece itself."""
    path = folder / _SENTENCEPIECE
    with _transformers(path, "sentencepiece", "google.protobuf"):
        import google.protobuf  # noqa: F401
        import sentencepiece
        from transformers import T5TokenizerFast

    with _quiet(), one_error(lambda reason: CheckpointError(f"{path}: cannot be converted ({reason})")):
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        tokenizer: Tokenizer = T5TokenizerFast.from_pretrained(str(folder)).backend_tokenizer
        end = tokenizer.encode("a").ids[-1:]
        wrong = _differences(tokenizer, lambda text: [*pieces.encode(text), *end])
        if wrong:
            # tokenizer_config.json may switch off the space before the first word, which the model was trained with
            repaired: Tokenizer = T5TokenizerFast.from_pretrained(str(folder), add_prefix_space=True).backend_tokenizer
            if not _differences(repaired, lambda text: [*pieces.encode(text), *end]):
                warnings.warn(
                    f"{folder / _SETTINGS}: by its add_prefix_space no space comes before the first word, but by "
                    f"{_SENTENCEPIECE} one does; converted with the space",
                    EdgeLorahubWarning,
                    stacklevel=5,
                )
                return repaired
    _refuse_differences(path, wrong, "SentencePiece")
    return tokenizer


def _from_byte_pairs(folder: Path) -> Tokenizer:
    """Through transformers' class for the checkpoint, and compared with its form in Python, where it has one."""
    path = folder / _BYTE_PAIRS[0]
    with _transformers(path):
        from transformers import AutoTokenizer

    with _quiet(), one_error(lambda reason: CheckpointError(f"{path}: cannot be converted ({reason})")):
        # CodeT5's is RoBERTa's
        kind = {} if _named(folder)[1] else {"tokenizer_type": "roberta"}
        fast = AutoTokenizer.from_pretrained(str(folder), use_fast=True, **kind)
        tokenizer: Tokenizer = fast.backend_tokenizer
        slow = AutoTokenizer.from_pretrained(str(folder), use_fast=False, **kind)
        wrong = _differences(tokenizer, lambda text: list(slow(text)["input_ids"]))
    _refuse_differences(path, wrong, "transformers' tokenizer in Python")
    return tokenizer


def _differences(tokenizer: Tokenizer, truth: Encode) -> list[str]:
    """The texts of which a tokenizer makes other ids."""
    return [text for text in TEXTS if tokenizer.encode(text).ids != truth(text)]


def _refuse_differences(path: Path, wrong: Sequence[str], truth: str) -> None:
    if wrong:
        raise CheckpointError(
            f"{path}: cannot be converted: {len(wrong)} of {len(TEXTS)} texts get other ids than from {truth} "
            f"({wrong[0]!r}, for example); a {TOKENIZER} beside it that gives the right ones would be taken"
        )


@contextmanager
def _transformers(path: Path, *others: str) -> Iterator[None]:
    """Names the extra where a package is not installed, and a package's own error where it is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("transformers", "google", "google.protobuf", "sentencepiece"):
            raise MissingDependencyError(f"{path}: {error} (imported by transformers)") from error
        raise MissingDependencyError(
            f"{path.parent}: no {TOKENIZER}, and making one from {path.name} takes "
            f"{' and '.join(['transformers', *others[:1]])}: pip install 'edge-lorahub[export]'"
        ) from error
    except Exception as error:
        raise MissingDependencyError(f"{path}: transformers cannot be imported ({error})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers' remarks on its own defaults from the user."""
    from transformers.utils import logging

    before: Any = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
