"""What runs on a node of a Ray cluster: it gets what cells read, and measures them one after the other."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import EdgeLorahubError
from ..machine.processors import processor_name
from .cell import Cell, versions
from .freight import Freight, cached, keep
from .outcome import outcome
from .result import Result


@dataclass(frozen=True)
class Greeting:
    """Who a worker is. versions: what is installed there, by package."""

    host: str
    processor: str
    versions: Mapping[str, str]


class Worker:
    """The class of a Ray actor: its methods are called from another machine, one after the other."""

    def __init__(self) -> None:
        # SciPy warns of every Cobyla that is asked for less than it wants
        warnings.simplefilter("ignore")
        self._places: dict[Path, Path] = {}

    def greet(self) -> Greeting:
        return Greeting(socket.gethostname(), processor_name(), dict(versions()))

    def missing(self, freights: Sequence[Freight]) -> list[Freight]:
        """Those that lie neither at their own path, as in a folder that machines share, nor in this machine's cache."""
        for freight in freights:
            found = (place for place in (freight.folder, cached(freight)) if freight.lies_in(place))
            if (place := next(found, None)) is not None:
                self._places[freight.folder] = place
        return [freight for freight in freights if freight.folder not in self._places]

    def fetch(self, sent: Sequence[tuple[Freight, Mapping[str, Sequence[Any]]]]) -> Exception | None:
        """Keeps freights on this machine. sent: with Ray's references to the pieces of each file, by name.

        Gives the error that it ended with, if any.
        """
        try:
            for freight, files in sent:
                self._places[freight.folder] = keep(freight, partial(_contents, files))
        except EdgeLorahubError as error:
            return type(error)(f"{socket.gethostname()}: {error}")
        return None

    def measure(self, cell: Cell) -> Result | Exception:
        """As `outcome`; paths in it are those of the machine that asks."""
        modules = tuple(replace(module, folder=self._places[module.folder]) for module in cell.modules)
        found = outcome(replace(cell, bundle=self._places[cell.bundle], modules=modules))
        if isinstance(found, OSError) and found.errno is not None:
            return type(found)(found.errno, found.strerror, self._as_asked(str(found.filename)))
        if isinstance(found, Exception):
            return type(found)(self._as_asked(str(found)))
        return replace(found, warnings=tuple(map(self._as_asked, found.warnings)))

    def _as_asked(self, text: str) -> str:
        for asked, place in self._places.items():
            text = text.replace(str(place), str(asked))
        return text


def _contents(files: Mapping[str, Sequence[Any]], name: str) -> Iterator[bytes]:
    import ray

    for reference in files[name]:
        yield ray.get(reference)
