"""What all peers work from: one checkpoint, its bundles, modules and examples."""

from __future__ import annotations

from pathlib import Path

from edge_lorahub.testing.random_models import write_checkpoint, write_module

from .adaptation_time import write_examples
from .load import Load

PRECISIONS = ("fp32", "int8")


class Inputs:
    """The files that everyone works from, in a folder; what is there already is used again."""

    def __init__(self, load: Load, work: Path) -> None:
        from edge_lorahub.export import export

        self.checkpoint = work / load.size
        if not (self.checkpoint / "config.json").is_file():
            write_checkpoint(self.checkpoint, load.size)
        self.modules = [
            write_module(work / f"{load.size}.r{load.rank}" / f"module-{i}", load.size, seed=i, rank=load.rank)
            for i in range(load.modules)
        ]
        self.examples = work / f"{load.size}.examples.jsonl"
        write_examples(self.examples, load)
        self.bundles = {precision: work / f"{load.size}.{precision}.bundle" for precision in PRECISIONS}
        for precision, bundle in self.bundles.items():
            export(self.checkpoint, bundle, precision=precision, force=True)
        self.work = work
