"""Tokenizers made from other files than tokenizer.json: SentencePiece's (T5, mT5), none (ByT5), byte pairs (CodeT5)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edge_lorahub.bundle.manifest import TOKENIZER
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning, MissingDependencyError, MissingPathError
from edge_lorahub.files.outputs import is_lfs_pointer, lfs_message
from edge_lorahub.tokenizer.tokenizer_file import one_error

from .added_tokens import add_named_tokens, check_added_tokens
from .byte_tokenizer import byte_tokenizer, count_extra_ids
from .tokenizer_files import LOCAL, check_extra_ids, tokenizer_files
from .tokenizer_settings import SETTINGS, read_settings

Encode = Callable[[str], list[int]]

_SENTENCEPIECE = "spiece.model"
_BYTE_PAIRS = ("vocab.json", "merges.txt")
# transformers' classes that read these files by their own rules alone.
_SENTENCEPIECE_CLASSES = ("T5Tokenizer", "MT5Tokenizer", "PreTrainedTokenizer")
_BYTE_PAIR_CLASSES = ("RobertaTokenizer", "GPT2Tokenizer", "BartTokenizer")
_OWN_CODE = "auto_map"
_MAKE_ONE = f"make a {TOKENIZER} of it in a safe place, where its own library is installed, and copy that beside it"
# Texts on which a conversion that goes wrong shows: the first word, spaces of all kinds, what is normalized, what no
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
    _refuse_own_code(folder)
    check_added_tokens(folder)
    check_extra_ids(folder)
    if (folder / _SENTENCEPIECE).is_file():
        return _from_sentencepiece(folder)
    if all((folder / name).is_file() for name in _BYTE_PAIRS):
        return _from_byte_pairs(folder)
    path, settings = _named(folder)
    if settings.get("tokenizer_class") == "ByT5Tokenizer":
        return byte_tokenizer(count_extra_ids(settings, path))
    raise MissingPathError(
        f"{folder}: neither {TOKENIZER} nor {_SENTENCEPIECE} (T5), {' with '.join(_BYTE_PAIRS)} (CodeT5) or a "
        f"{SETTINGS} of ByT5; copy the tokenizer's files there"
    )


def warn_of_own_code(folder: Path) -> None:
    """Warns where the settings name a class of the checkpoint's own, beside a tokenizer.json that is read instead."""
    if read_settings(folder).get(_OWN_CODE):
        warnings.warn(
            f"{folder / SETTINGS}: {_OWN_CODE} names code of the checkpoint's own, which is not run; {TOKENIZER} is "
            "read without it",
            EdgeLorahubWarning,
            stacklevel=4,
        )


def _refuse_own_code(folder: Path) -> None:
    if read_settings(folder).get(_OWN_CODE):
        raise CheckpointError(
            f"{folder / SETTINGS}: {_OWN_CODE} names code of the checkpoint's own, which is not run; {_MAKE_ONE}"
        )


def _named(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that names the tokenizer's class, the tokenizer's settings or the model's, and its fields."""
    for name in (SETTINGS, "config.json"):
        settings = read_settings(folder, name)
        if settings.get("tokenizer_class"):
            return folder / name, settings
    return folder / SETTINGS, {}


def _from_sentencepiece(folder: Path) -> Tokenizer:
    """Through transformers, and compared with SentencePiece itself."""
    path = folder / _SENTENCEPIECE
    _kind(folder, _SENTENCEPIECE_CLASSES, path)
    with _transformers(path, "sentencepiece", "google.protobuf"):
        import google.protobuf  # noqa: F401
        import sentencepiece
        from transformers import T5TokenizerFast

    def differences(tokenizer: Tokenizer) -> list[str]:
        end = tokenizer.encode("a").ids[-1:]
        bare = _without_added(tokenizer)
        return _differences(bare, lambda text: [*pieces.encode(text), *end])

    error = _cannot_be_converted(path)
    with _quiet(), one_error(error), tokenizer_files(folder, (_SENTENCEPIECE,)) as files:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        tokenizer: Tokenizer = T5TokenizerFast.from_pretrained(files, **LOCAL).backend_tokenizer
        if wrong := differences(tokenizer):
            # tokenizer_config.json may switch off the space before the first word, which the model was trained with
            repaired: Tokenizer = T5TokenizerFast.from_pretrained(
                files, add_prefix_space=True, **LOCAL
            ).backend_tokenizer
            if not differences(repaired):
                warnings.warn(
                    f"{folder / SETTINGS}: by its add_prefix_space no space comes before the first word, but by "
                    f"{_SENTENCEPIECE} one does; converted with the space",
                    EdgeLorahubWarning,
                    stacklevel=5,
                )
                tokenizer, wrong = repaired, []
    _refuse_differences(path, wrong, "SentencePiece")
    add_named_tokens(tokenizer, folder, converted=True)
    return tokenizer


def _from_byte_pairs(folder: Path) -> Tokenizer:
    """Through transformers' class for the checkpoint, and compared with its form in Python."""
    path = folder / _BYTE_PAIRS[0]
    # CodeT5's is RoBERTa's
    kind = _kind(folder, _BYTE_PAIR_CLASSES, path) or "RobertaTokenizer"
    with _transformers(path):
        import transformers

    with _quiet(), one_error(_cannot_be_converted(path)), tokenizer_files(folder, _BYTE_PAIRS) as files:
        fast = getattr(transformers, f"{kind}Fast").from_pretrained(files, **LOCAL)
        tokenizer: Tokenizer = fast.backend_tokenizer
        slow = getattr(transformers, kind).from_pretrained(files, **LOCAL)
        wrong = _differences(tokenizer, lambda text: list(slow(text)["input_ids"]))
    _refuse_differences(path, wrong, "transformers' tokenizer in Python")
    add_named_tokens(tokenizer, folder, converted=True)
    return tokenizer


def _kind(folder: Path, known: Sequence[str], path: Path) -> str | None:
    """The class that the settings name, without "Fast"; None where they name none. Refused where it is another."""
    where, settings = _named(folder)
    name = settings.get("tokenizer_class")
    kind = name.removesuffix("Fast") if isinstance(name, str) else name
    if kind is not None and kind not in known:
        raise CheckpointError(
            f"{where}: tokenizer_class {name!r:.80} is not supported with {path.name}, only {', '.join(known)}; "
            f"{_MAKE_ONE}"
        )
    return kind


def _without_added(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as it was trained, without the tokens that were added, of which SentencePiece knows nothing."""
    return Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | {"added_tokens": []}))


def _differences(tokenizer: Tokenizer, truth: Encode) -> list[str]:
    """The texts of which a tokenizer makes other ids."""
    return [text for text in TEXTS if tokenizer.encode(text).ids != truth(text)]


def _cannot_be_converted(path: Path) -> Callable[[str], CheckpointError]:
    return lambda reason: CheckpointError(f"{path}: cannot be converted ({reason})")


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
