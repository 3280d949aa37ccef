"""A LoRA module, in whatever form it lies on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .pair import Lora


@dataclass(frozen=True)
class Module:
    """A LoRA module: its settings read and its tensors checked against them, the tensors still on disk.

    folder: where it lies, of a form that is one file that file; file: the tensors, of several the first. base_model: as
    its settings name it, "" where they do not. task_type: one of `bundle.architectures.TASK_TYPES`; None where it says
    nothing or another. shapes maps each linear layer to (r, d_in, d_out), scales to alpha / r. name is for the user's
    eyes; sha256 says which module it is, whatever its files are called (`pair.identity`). read: gives the matrices.
    """

    name: str
    folder: Path
    file: Path
    base_model: str
    task_type: str | None
    sha256: str
    shapes: Mapping[str, tuple[int, int, int]]
    scales: Mapping[str, float]
    read: Callable[[], Iterator[tuple[str, Lora]]] = field(repr=False, compare=False)

    @property
    def is_stored(self) -> bool:
        """Whether these matrices are its file's, so that what lies beside that is said of them."""
        return True

    def loras(self) -> Iterator[tuple[str, Lora]]:
        """Reads the matrices: (linear layer, pair), in the order of `shapes`."""
        yield from self.read()
