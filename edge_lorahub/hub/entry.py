"""What the store knows of a module, checked: a row of an index may be anybody's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError

# File systems take 255 bytes, and a name may become a folder's when its module is published.
LONGEST_NAME = 200
_LONGEST_TEXT = 4096
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Control characters, marks of direction and other invisible ones, halves of characters, line and paragraph separators.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

CONFIG, CARD, LICENSE, RECORD = "adapter_config.json", "README.md", "LICENSE", "edge_lorahub.json"
TENSORS = ("adapter_model.safetensors", "adapter_model.bin")
# Every file that a stored module may have.
KEPT_FILES = (CONFIG, *TENSORS, CARD, LICENSE, RECORD)

# A linear layer's name -> (r, d_in, d_out).
Shapes = Mapping[str, tuple[int, int, int]]


def check_name(name: str, what: str = "a module's name") -> str:
    """The name in Unicode's composed form, by which names that look the same are the same.

    Raises SettingsError for a name that is empty, too long, hidden, or would be a path.
    """
    problem = None
    if isinstance(name, str):
        name = unicodedata.normalize("NFC", name)  # which may be longer
    if not isinstance(name, str) or not name.strip():
        problem = "is empty"
    elif len(name) > LONGEST_NAME or len(name.encode(errors="replace")) > LONGEST_NAME:
        problem = f"has more than {LONGEST_NAME} bytes"
    elif "/" in name or "\\" in name or ".." in name or name.startswith("."):
        problem = "looks like a path"
    elif not name.isprintable() and any(unicodedata.category(c) in _HIDDEN for c in name):
        problem = "has characters that are not seen"
    elif name != name.strip() or name.startswith("-"):
        problem = "begins or ends with a space, or begins with a dash"
    if problem is not None:
        raise SettingsError(
            f"{what} {problem}: {name!r:.80}; take letters, digits, dots, dashes and spaces, at most {LONGEST_NAME} "
            "bytes of them"
        )
    return name


@dataclass(frozen=True)
class StoredFile:
    """A file of a stored module: its name, SHA-256 and size in bytes."""

    name: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        if self.name not in KEPT_FILES:
            raise ValueError(f"a file is called {self.name!r:.80}, which no module's is")
        _check_digest(self.sha256)
        _check_count(self.size, 0)


@dataclass(frozen=True)
class Facts:
    """What is known of a module's contents.

    key: the digest under which its files lie. sha256: `Module.sha256`. kind: adapter where it has a record, else
    module. description: what its card says. parameters: numbers in all A and B.
    """

    key: str
    sha256: str
    kind: str
    base_model: str
    task_type: str | None
    shapes: Shapes
    files: tuple[StoredFile, ...]
    description: str = ""

    def __post_init__(self) -> None:
        for what, text in (("base model", self.base_model), ("layers' kinds", self.layer_kinds), ("ranks", self.ranks)):
            try:
                _check_text(text)
            except ValueError as error:
                raise ValueError(f"its {what}: {error}") from error

    @property
    def layer_kinds(self) -> str:
        return ",".join(sorted({layer.rpartition(".")[2] for layer in self.shapes}))

    @property
    def ranks(self) -> str:
        return ",".join(map(str, sorted({rank for rank, _, _ in self.shapes.values()})))

    @property
    def parameters(self) -> int:
        return sum(rank * (d_in + d_out) for rank, d_in, d_out in self.shapes.values())

    @property
    def size(self) -> int:
        """In bytes, of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Entry:
    """A module in the store, under its name.

    folder: the PEFT folder of its files, which `Modules.load` and every command takes. layout: of the layers' shapes,
    which entries may share. layer_kinds and ranks are lists between commas. source: where it was added from, a folder
    or a Hub id. added: the time, in UTC (ISO 8601).
    """

    name: str
    sha256: str
    kind: str
    base_model: str
    task_type: str | None
    layer_kinds: str
    layers: int
    ranks: str
    parameters: int
    size: int
    tags: tuple[str, ...]
    source: str
    added: str
    key: str
    layout: str
    folder: Path

    def __post_init__(self) -> None:
        try:
            composed = [check_name(name) for name in (self.name, *self.tags)]
        except SettingsError as error:
            raise ValueError(str(error)) from error
        if composed != [self.name, *self.tags]:
            raise ValueError(f"the name {self.name!r:.80}, or a tag of it, is not in its composed form")
        for digest in (self.sha256, self.key, self.layout):
            _check_digest(digest)
        task_type = "" if self.task_type is None else self.task_type
        for text in (
            self.kind, self.base_model, self.layer_kinds, self.ranks, self.source, self.added, task_type,
        ):  # fmt: skip
            _check_text(text)
        for count in (self.layers, self.parameters, self.size):
            _check_count(count, 1)


def check_key(key: object) -> str:
    """A digest, which is a part of a path. Raises ValueError."""
    _check_digest(key)
    return str(key)


def _check_digest(digest: object) -> None:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is {digest!r:.80}")


def _check_text(text: object) -> None:
    """A text that the index can hold: halves of characters are none."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise ValueError(f"a text is {text!r:.80}, where one of at most {_LONGEST_TEXT} characters was expected")
    text.encode()


def _check_count(count: object, least: int) -> None:
    if type(count) is not int or count < least:
        raise ValueError(f"a number is {count!r:.40}")
