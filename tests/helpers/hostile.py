"""Hostile inputs by name: what is put in the place of which file, and the command that then reads it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bundles import sign
from safetensors.numpy import load_file, save_file

Arguments = tuple[object, ...]
# Puts something in the place of a file.
Put = Callable[[Path], object]


def _bytes(content: bytes) -> Put:
    return lambda path: path.write_bytes(content)


def _link(target: str) -> Put:
    return lambda path: path.symlink_to(target)


# What is no file of any kind that is read here.
CONTENTS: dict[str, Put] = {
    "nothing": _bytes(b""),
    "spaces": _bytes(b" \n\t" * 50),
    "null": _bytes(b"null"),
    "a number": _bytes(b"1e999"),
    "a text": _bytes(b'"x"'),
    "a brace": _bytes(b"{"),
    "half": _bytes(b'{"input": "w3", "outp'),
    "brackets": _bytes(b"[" * 200_000),
    "empty lists": _bytes(b"[" + b"[]," * 5_000_000 + b"[]]"),
    "a long text": _bytes(b'{"' + b"a" * 20_000_000),
    "zeros": _bytes(bytes(5000)),
    "noise": _bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()),
    "UTF-16": _bytes('{"input": "w3"}'.encode("utf-16")),
    "a surrogate": _bytes(b'{"\\ud800": "\\udfff"}'),
    "an escape": _bytes(b'{"\x1b[2J\x1b]0;x\x07": 1}'),
    "an LFS pointer": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
    "a web page": _bytes(b"<!DOCTYPE html><html><body>404</body></html>"),
    "gzip": _bytes(bytes.fromhex("1f8b0800000000000003") + bytes(100)),
    "a huge header": _bytes((2**63 - 1).to_bytes(8, "little") + b'{"a": 1}'),
    "a header of 10^8": _bytes((10**8).to_bytes(8, "little") + b"{" * 1000),
    "an end of zip": _bytes(b"PK\5\6" + b"\xff" * 18),
    "a pickle": _bytes(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R."),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "endless zeros": _link("/dev/zero"),
    "endless noise": _link("/dev/urandom"),
    "a terminal": _link("/dev/tty"),
    "itself": lambda path: path.symlink_to(path.name),
    "memory": _link("/proc/self/mem"),
}
# What may lie where a file is optional without harm: as if there were none.
_ABSENT = ("a folder", "itself")
# Examples may come through a pipe, as from `cat` or a shell's <(...).
_PIPED = ("examples/examples.jsonl", "examples/examples.json", "examples/examples.csv")


@dataclass(frozen=True)
class Case:
    """A name, and what makes the input in a copy of the sound folders and gives the command's arguments."""

    name: str
    make: Callable[[Path], Arguments]


def _adapt(work: Path, *more: object, module: str = "module") -> Arguments:
    return ("adapt", work / "bundle", work / "examples" / "examples.jsonl", "--module", work / module, "--out",
            work / "out", "--budget", 2, *more)  # fmt: skip


# By the file: how it is read.
_READERS: dict[str, Callable[[Path], Arguments]] = {
    "module/adapter_config.json": _adapt,
    "module/adapter_model.safetensors": _adapt,
    "pickled/adapter_model.bin": lambda work: _adapt(work, module="pickled"),
    "adapter/edge_lorahub.json": lambda work: ("generate", work / "bundle", "w3", "--adapter", work / "adapter"),
    "adapter/adapter_model.safetensors": lambda work: _adapt(work, "--warm-start", work / "adapter"),
    "bundle/manifest.json": lambda work: ("generate", work / "bundle", "w3"),
    "bundle/decoder.plain.onnx": lambda work: ("generate", work / "bundle", "w3"),
    "bundle/tokenizer.json": lambda work: ("generate", work / "bundle", "w3"),
    "bundle/weights.bin": lambda work: ("generate", work / "bundle", "w3"),
    "examples/examples.jsonl": _adapt,
    "examples/examples.json": lambda work: ("evaluate", work / "bundle", work / "examples" / "examples.json"),
    "examples/examples.csv": lambda work: (
        "generate", work / "bundle", "--file", work / "examples" / "examples.csv"
    ),
    "checkpoint/config.json": lambda work: ("export", work / "checkpoint", work / "out"),
    "checkpoint/model.safetensors": lambda work: ("export", work / "checkpoint", work / "out"),
    "checkpoint/tokenizer.json": lambda work: ("export", work / "checkpoint", work / "out"),
    "checkpoint/generation_config.json": lambda work: ("export", work / "checkpoint", work / "out"),
    "checkpoint/tokenizer_config.json": lambda work: ("export", work / "checkpoint", work / "out"),
    "sharded/model.safetensors.index.json": lambda work: ("export", work / "sharded", work / "out"),
    "journals/out.journal.jsonl": lambda work: (*_adapt(work, "--resume")[:-5], "--out", work / "journals" / "out",
                                                "--resume"),
    "journals/cells.jsonl": lambda work: (
        "bench", "tinyhub", "--part", "dev", "--only", "zero", "--resume", "--cells", work / "journals" / "cells.jsonl"
    ),
}  # fmt: skip
_OPTIONAL = ("checkpoint/generation_config.json", "checkpoint/tokenizer_config.json")
# Files of a bundle of which the manifest has a digest, so that a stranger would change both.
_SIGNED = ("bundle/decoder.plain.onnx", "bundle/tokenizer.json", "bundle/weights.bin")


def _placed(file: str, put: Put, *, signed: bool) -> Callable[[Path], Arguments]:
    def make(work: Path) -> Arguments:
        path = work / file
        path.unlink()
        put(path)
        if signed:
            sign(path.parent)
        return _READERS[file](work)

    return make


def _contents() -> list[Case]:
    return [
        Case(f"{what} as {file}{', signed' if signed else ''}", _placed(file, put, signed=signed))
        for file in _READERS
        for what, put in CONTENTS.items()
        for signed in (False, True)
        if not (file in _OPTIONAL and what in _ABSENT)
        and not (file in _PIPED and what == "a pipe")
        and not (signed and (file not in _SIGNED or "content" not in put.__code__.co_freevars))
    ]


def _json(file: str, *, sign_it: bool = False, **fields: Any) -> Callable[[Path], Arguments]:
    """A file of JSON with other values; a dot in a name leads into what is below it."""

    def make(work: Path) -> Arguments:
        path = work / file
        value = json.loads(path.read_text())
        for name, field in fields.items():
            *parents, last = name.split("__")
            inner = value
            for parent in parents:
                inner = inner[int(parent) if isinstance(inner, list) else parent]
            inner[int(last) if isinstance(inner, list) else last] = field
        path.write_text(json.dumps(value))
        if sign_it:
            sign(path.parent)
        return _READERS[file](work)

    return make


_CONFIG, _SIDECAR, _MANIFEST = "module/adapter_config.json", "adapter/edge_lorahub.json", "bundle/manifest.json"
_CHECKPOINT, _TOKENIZER = "checkpoint/config.json", "bundle/tokenizer.json"
# Values that mean something and are wrong.
_VALUES: dict[str, Callable[[Path], Arguments]] = {
    "a rank of 10^9": _json(_CONFIG, r=10**9),
    "a rank of -1": _json(_CONFIG, r=-1),
    "a rank of 10^400": _json(_CONFIG, r=10**400),
    "a scale beyond float32": _json(_CONFIG, lora_alpha=1e308),
    "an alpha that is no number": _json(_CONFIG, lora_alpha=float("nan")),
    "an alpha that is a list": _json(_CONFIG, lora_alpha=[8]),
    "an endless pattern that fits nothing": _json(_CONFIG, target_modules="(a+)+b"),
    "patterns within patterns": _json(_CONFIG, target_modules="(" * 3000 + ")" * 3000),
    "a pattern of a megabyte": _json(_CONFIG, target_modules="a|" * 500_000),
    "a pattern that is none": _json(_CONFIG, target_modules="("),
    "a back reference": _json(_CONFIG, target_modules=r"(q)\1"),
    "ranks by a pattern that is none": _json(_CONFIG, rank_pattern={"(": 4}),
    "another kind of adapter": _json(_CONFIG, peft_type="\x1b[31mIA3"),
    "DoRA": _json(_CONFIG, use_dora=True),
    "a base of control characters": _json(_CONFIG, peft_type="LOHA\n\r\x1b[2J\x07"),
    "a manifest that leads out": _json(_MANIFEST, sha256={"../private": "0" * 64}),
    "a manifest that names a device": _json(_MANIFEST, sha256={"/dev/zero": "0" * 64}),
    "a format of the future": _json(_MANIFEST, format_version=99),
    "a format that is a list": _json(_MANIFEST, format_version=[3]),
    "a vocabulary of 10^8": _json(_MANIFEST, model__vocab_size=10**8),
    "heads of 10^8": _json(_MANIFEST, model__head_size=10**8),
    "layers of 10^9": _json(_MANIFEST, model__layers=10**9),
    "a slot at the end of the world": _json(_MANIFEST, slots__0__weight_offset=2**47),
    "a slot in another's place": _json(_MANIFEST, slots__1__weight_offset=0),
    "a slot that is no multiple": _json(_MANIFEST, slots__0__weight_offset=5),
    "a slot of 10^12 numbers": _json(_MANIFEST, slots__0__d_in=10**12),
    "no slots": _json(_MANIFEST, slots=None),
    "a slot named by escapes": _json(_MANIFEST, slots__0__name="\x1b[2J" * 3),
    "a precision of escapes": _json(_MANIFEST, precision="\x1b[2J"),
    "a start beyond the vocabulary": _json(_MANIFEST, model__start_token_id=10**9),
    "a start below 0": _json(_MANIFEST, model__start_token_id=-1),
    "a sample that is none": _json(_MANIFEST, weights_sample="../x"),
    "a tokenizer that pads to 10^9": _json(
        _TOKENIZER, sign_it=True, model__vocab={"w3": 10**9}, padding={"strategy": {"Fixed": 10**9}}
    ),
    "a tokenizer with a backtracking split": _json(
        _TOKENIZER, sign_it=True,
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False},
    ),
    "a tokenizer of another kind": _json(_TOKENIZER, sign_it=True, model={"type": "\x1b[2J"}),
    "buckets of 10^9": _json(_CHECKPOINT, relative_attention_num_buckets=10**9),
    "a model of 10^9 layers": _json(_CHECKPOINT, num_layers=10**9),
    "a model of -1 layers": _json(_CHECKPOINT, num_layers=-1),
    "a model of 2.5 heads": _json(_CHECKPOINT, num_heads=2.5),
    "a model of another family": _json(_CHECKPOINT, model_type="../../etc/passwd"),
    "an activation that is unknown": _json(_CHECKPOINT, feed_forward_proj="gated-__import__('os')"),
    "an epsilon that is none": _json(_CHECKPOINT, layer_norm_epsilon="1e-6; rm -rf"),
    "a width of 10^8": _json(_CHECKPOINT, d_model=10**8),
    "an index that leads out": _json(
        "sharded/model.safetensors.index.json", weight_map={"shared.weight": "../checkpoint/model.safetensors"}
    ),
    "an index that names a device": _json(
        "sharded/model.safetensors.index.json", weight_map={"shared.weight": "/dev/zero"}
    ),
    "an index of a missing file": _json(
        "sharded/model.safetensors.index.json", weight_map={"shared.weight": "model-9.safetensors"}
    ),
    "another digest of the matrices": _json(_SIDECAR, adapter_sha256="\x1b[2J" * 20),
}  # fmt: skip


def _warm(**fields: Any) -> Callable[[Path], Arguments]:
    def make(work: Path) -> Arguments:
        _json(_SIDECAR, **fields)(work)
        return _adapt(work, "--warm-start", work / "adapter")

    return make


def _tensors(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Arguments]:
    """The module with its first tensor changed."""

    def make(work: Path) -> Arguments:
        path = work / "module" / "adapter_model.safetensors"
        tensors = load_file(path)
        for change in changes.values():
            first = min(tensors)
            tensors[first] = change(tensors[first])
        save_file(tensors, path)
        return _adapt(work)

    return make


def _command(*parts: str) -> Callable[[Path], Arguments]:
    """A command line; {} is the folder of the copies."""
    return lambda work: tuple(part.replace("{}", str(work)) for part in parts)


_B, _E = "{}/bundle", "{}/examples/examples.jsonl"
_OTHERS: dict[str, Callable[[Path], Arguments]] = {
    "a start of 10^400": _warm(weights={"module": 10**400}),
    "a start that is no number": _warm(weights={"module": float("nan")}),
    "a start beyond the bounds": _warm(weights={"module": 1e9}),
    "a start of texts": _warm(weights={"module": "1"}),
    "a start of nothing": _warm(weights=None),
    "numbers that are none": _tensors(x=lambda a: a * np.float32("nan")),
    "numbers that are infinite": _tensors(x=lambda a: a + np.float32("inf")),
    "a tensor of whole numbers": _tensors(x=lambda a: a.astype(np.int64)),
    "a tensor of another rank": _tensors(x=lambda a: a[:1]),
    "a tensor of three dimensions": _tensors(x=lambda a: a[None]),
    "an empty tensor": _tensors(x=lambda a: a[:0]),
    "a tensor of another width": _tensors(x=lambda a: np.ascontiguousarray(a[:, :5])),
    "a name of escapes": _command("generate", "{}/\x1b[2J\x1b]0;owned\x07", "w3"),
    "a name of lines": _command("inspect", "a\nb\r\nError: nothing"),
    "a name of 5,000 characters": _command("inspect", "x" * 5000),
    "a name of dots": _command("inspect", "../" * 400 + "etc"),
    "a name that is an option": _command("inspect", "--", "--check"),
    "a name that is empty": _command("inspect", ""),
    "a name of a NUL-like escape": _command("inspect", "%00"),
    "an address": _command("inspect", "https://example.org/../x"),
    "a device as a bundle": _command("generate", "/dev/zero", "w3"),
    "a device as examples": _command("evaluate", _B, "/dev/zero"),
    "noise as examples": _command("evaluate", _B, "/dev/urandom"),
    "a device as a file": _command("generate", _B, "--file", "/dev/zero"),
    "a device as an adapter": _command("generate", _B, "w3", "--adapter", "/dev/zero"),
    "a folder as examples": _command("evaluate", _B, "{}"),
    "predictions into a device": _command("evaluate", _B, _E, "--predictions", "/dev/full"),
    "predictions into the kernel": _command("evaluate", _B, _E, "--predictions", "/proc/self/x"),
    "predictions into a folder": _command("evaluate", _B, _E, "--predictions", "{}"),
    "predictions over the examples": _command("evaluate", _B, _E, "--predictions", _E),
    "an output in the kernel": _command("bake", _B, "{}/module", "/proc/x/y"),
    "an output that is a device": _command("bake", _B, "{}/module", "/dev/null", "--force"),
    "an output over a module": _command("bake", _B, "{}/module", "{}/module", "--force"),
    "an output over the bundle": _command("bake", _B, "{}/module", _B, "--force"),
    "an output over everything": _command("export", "{}/checkpoint", "{}", "--force"),
    "an output over the root": _command("export", "{}/checkpoint", "/", "--force"),
    "10^30 threads": _command("generate", _B, "w3", "--threads", "9" * 30),
    "-1 threads": _command("generate", _B, "w3", "--threads", "-1"),
    "10^30 tokens": _command("generate", _B, "w3", "--max-new-tokens", "1e30"),
    "a batch of nothing": _command("generate", _B, "w3", "--batch-size", "0"),
    "a limit of memory of text": _command(
        "adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--memory-limit", "٣GB"
    ),
    "a limit of a byte": _command("adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--memory-limit", "0.001MB"),
    "an optimizer with code": _command(
        "adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--optimizer", "nevergrad:__import__"
    ),
    "an optimizer of underscores": _command(
        "adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--optimizer", "nevergrad:registry"
    ),
    "a step of nothing": _command("adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--step-size", "-inf"),
    "a seed of 10^30": _command("adapt", _B, _E, "-m", "{}/module", "--out", "{}/out", "--seed", "9" * 30),
    "a module twice": _command("adapt", _B, _E, "-m", "{}/module", "-m", "{}/module/../module", "--out", "{}/out"),
    "a module that is a bundle": _command("adapt", _B, _E, "-m", _B, "--out", "{}/out"),
    "examples that are binary": _command("evaluate", _B, "{}/bundle/weights.bin"),
    "a text that is half a letter": _command("generate", _B, "\udce4"),
}  # fmt: skip

CASES = [*_contents(), *(Case(name, make) for table in (_VALUES, _OTHERS) for name, make in table.items())]


def copy_sound(corpus: Path, work: Path) -> Path:
    """A copy of the sound folders, of which a case may change what it likes."""
    return Path(shutil.copytree(corpus, work, symlinks=True))
