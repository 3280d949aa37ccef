"""The readers that are fuzzed: a sound folder, the file in it that is changed, and what reads it."""

from __future__ import annotations

import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from bundles import sign
from mutations import mutate_bytes, mutate_json, mutate_json_lines
from torch_files import state_dict

import edge_lorahub as el
from edge_lorahub.bench.cells import Cells
from edge_lorahub.bench.quality_table import is_percent
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.composition.record_check import warn_of_learned_examples, warn_of_other_modules
from edge_lorahub.export import export
from edge_lorahub.inspection import inspect
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.runtime.tokens import Tokens
from edge_lorahub.search.journal import Journal
from edge_lorahub.testing.random_models import write_checkpoint, write_module


@dataclass(frozen=True)
class Target:
    """file: of the folder `source` in the corpus, which `mutate` changes and `read` reads the folder of."""

    source: str
    file: str
    mutate: Callable[[random.Random, bytes], bytes]
    read: Callable[[Path], object]


def _read_module(folder: Path) -> None:
    for _ in el.Modules.load(folder)[0].loras():
        pass


def _read_adapter(folder: Path) -> None:
    """With all that its record is compared with."""
    inspect(folder)
    adapter = el.load_adapter(folder, read_manifest(folder / "bundle"))
    if adapter.record is not None:
        warn_of_other_modules(adapter.name, adapter.record, el.Modules.load(folder / "module"))
        warn_of_learned_examples(adapter.name, adapter.record, _PAIRS)


def _read_cells(folder: Path) -> None:
    Cells(folder / "cells.jsonl", ("task", "seed"), {}, resume=True, is_value=is_percent).close()


def _read_journal(folder: Path) -> None:
    Journal(folder / "out.journal.jsonl", "digest", resume=True).close()


def _read_bundle(folder: Path) -> None:
    inspect(folder)
    model = el.load(folder, threads=1)
    el.generate(model, ["w3 w4"], max_new_tokens=2)


def _read_signed(folder: Path) -> None:
    """As a stranger would sign what he changed."""
    sign(folder)
    _read_bundle(folder)


def _read_tokenizer(folder: Path) -> None:
    tokens = Tokens(folder / "tokenizer.json", read_manifest(folder).model)
    tokens.decode(tokens.encode(["w3 w4  ", "", "x" * 500], 64))


def _export(folder: Path) -> None:
    export(folder, folder / "out", force=True)


def _read_examples(name: str) -> Callable[[Path], object]:
    return lambda folder: el.read_examples(folder / name)


def _mutate_pickle(random_: random.Random, data: bytes) -> bytes:
    """Of an archive of torch.save, the pickle alone: the archive around it is whole."""
    import io

    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, mutate_bytes(random_, content) if info.filename.endswith(".pkl") else content)
    return result.getvalue()


_PAIRS = [el.Example(f"w{i} w{i + 1}", f"w{i + 2}") for i in range(10, 14)]

TARGETS = {
    "safetensors of a module": Target("module", "adapter_model.safetensors", mutate_bytes, _read_module),
    "adapter_config.json": Target("module", "adapter_config.json", mutate_json, _read_module),
    "adapter_model.bin": Target("pickled", "adapter_model.bin", mutate_bytes, _read_module),
    "its pickle": Target("pickled", "adapter_model.bin", _mutate_pickle, _read_module),
    "edge_lorahub.json": Target("adapter", "edge_lorahub.json", mutate_json, _read_adapter),
    "evaluations.safetensors": Target("adapter", "evaluations.safetensors", mutate_bytes, el.load_evaluations),
    "manifest.json": Target("bundle", "manifest.json", mutate_json, _read_bundle),
    "a graph": Target("bundle", "decoder.plain.onnx", mutate_bytes, _read_signed),
    "tokenizer.json": Target("bundle", "tokenizer.json", mutate_json, _read_tokenizer),
    "JSONL": Target("examples", "examples.jsonl", mutate_json_lines, _read_examples("examples.jsonl")),
    "JSON": Target("examples", "examples.json", mutate_json, _read_examples("examples.json")),
    "CSV": Target("examples", "examples.csv", mutate_bytes, _read_examples("examples.csv")),
    "config.json": Target("checkpoint", "config.json", mutate_json, _export),
    "generation_config.json": Target("checkpoint", "generation_config.json", mutate_json, _export),
    "tokenizer_config.json": Target("checkpoint", "tokenizer_config.json", mutate_json, _export),
    "an index": Target("sharded", "model.safetensors.index.json", mutate_json, _export),
    "a journal": Target("journals", "out.journal.jsonl", mutate_json_lines, _read_journal),
    "cells": Target("journals", "cells.jsonl", mutate_json_lines, _read_cells),
    "safetensors of a checkpoint": Target("checkpoint", "model.safetensors", mutate_bytes, _export),
}


def write_corpus(folder: Path) -> None:
    """The sound folders that all mutants come from."""
    checkpoint = write_checkpoint(folder / "checkpoint", "tiny")
    if not (checkpoint / "generation_config.json").exists():
        (checkpoint / "generation_config.json").write_text('{"decoder_start_token_id": 0, "eos_token_id": [1]}')
    sharded = Path(shutil.copytree(checkpoint, folder / "sharded"))
    names = list(load_file(sharded / "model.safetensors"))
    (sharded / "model.safetensors").rename(sharded / "model-00001-of-00001.safetensors")
    shards = ", ".join(f'"{name}": "model-00001-of-00001.safetensors"' for name in names)
    (sharded / "model.safetensors.index.json").write_text(f'{{"metadata": {{}}, "weight_map": {{{shards}}}}}')
    export(checkpoint, folder / "bundle")
    module = write_module(folder / "module", "tiny", seed=0, rank=2)
    pickled = Path(shutil.copytree(module, folder / "pickled"))
    tensors = load_file(pickled / "adapter_model.safetensors")
    state_dict(pickled / "adapter_model.bin", {name: np.asarray(tensor) for name, tensor in tensors.items()})
    (pickled / "adapter_model.safetensors").unlink()
    settings = el.Settings(budget=8)
    journals = folder / "journals"
    journals.mkdir()
    with closing(Journal(journals / "out.journal.jsonl", "digest", resume=False)) as journal:
        result = learn(
            el.load(folder / "bundle"), el.Modules.load(module), _PAIRS, settings, open_journal=lambda _: journal
        )
    result.compose(el.Modules.load(module)).save(folder / "adapter")
    shutil.copytree(folder / "bundle", folder / "adapter" / "bundle")
    shutil.copytree(module, folder / "adapter" / "module")
    cells = Cells(journals / "cells.jsonl", ("task", "seed"), {}, resume=False)
    for seed in range(4):
        cells.record(("sort", seed), 12.5 * seed)
    cells.close()
    examples = folder / "examples"
    examples.mkdir()
    lines = [f'{{"input": "{e.input}", "output": "{e.output}"}}' for e in _PAIRS]
    (examples / "examples.jsonl").write_text("\n".join(lines))
    (examples / "examples.json").write_text('{"examples": [' + ",".join(lines) + '], "name": "x"}')
    (examples / "examples.csv").write_text("input,output\n" + "".join(f'"{e.input}",{e.output}\n' for e in _PAIRS))
