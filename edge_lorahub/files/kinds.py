"""What a folder is, by the file that tells: a bundle, module or checkpoint; and the lines where another was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The file that only a folder of this kind has, in the order in which to look: a module may lie beside its base model.
SIGNS = {"bundle": "manifest.json", "module": "adapter_config.json", "checkpoint": "config.json"}
# How files of ONNX Runtime's adapters are called: modules that are a file, or two of them in a folder.
ONNX_ADAPTER = ".onnx_adapter"
# What `convert` writes beside them: which files belong together, with their digests.
CONVERSION = "edge_lorahub_conversion.json"
# owner/name or name, as the Hub spells repositories; anything else can only be a path
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def kind_of(folder: Path) -> str | None:
    """A key of SIGNS, or None."""
    found = next((kind for kind, sign in SIGNS.items() if (folder / sign).is_file()), None)
    return "module" if found is None and any(folder.glob(f"*{ONNX_ADAPTER}")) else found


def made_here(sign: str, record: Mapping[str, Any]) -> bool:
    """Whether edge-lorahub wrote the record, a bundle's manifest or an adapter's sidecar; sign is its file's name.

    Both have digests of all files beside them, under "sha256". An adapter's of before that may be anybody's.
    """
    if sign == SIGNS["bundle"]:
        types = {"format_version": int, "tool_version": str, "slots": list, "sha256": dict}
        return all(isinstance(record.get(key), kind) for key, kind in types.items())
    return str(record.get("made_by", "")).startswith("edge-lorahub ") and isinstance(record.get("sha256"), dict)


def modules_in(folder: Path) -> list[Path]:
    """The modules' folders right below a folder, and the adapter files in it, sorted."""
    folders = {file.parent for sign in (SIGNS["module"], f"*{ONNX_ADAPTER}") for file in folder.glob(f"*/{sign}")}
    return sorted([*folders, *folder.glob(f"*{ONNX_ADAPTER}")])


def not_a_bundle(path: Path) -> str:
    """What a path is that was given for a bundle, and what to do."""
    if path.is_file():
        folder = path.parent
        if kind_of(folder) == "bundle":
            return f"{path}: a file of a bundle; name its folder, {folder}"
        return f"{path}: a file, where a bundle's folder was expected; make one with `edge-lorahub export`"
    if not path.exists():
        if "/" in str(path) and HUB_ID.fullmatch(str(path)) and not path.parent.exists():
            return (
                f"{path}: no such bundle; make one with `edge-lorahub export {path} {path.name}`, and name its folder"
            )
        return f"{path}: no such bundle; make one with `edge-lorahub export SOURCE {path}`"
    kind = kind_of(path)
    if kind == "module":
        return f"{path}: a LoRA module, not a bundle; name a bundle here, and the module in its own place (see --help)"
    if kind == "checkpoint":
        return f"{path}: a checkpoint, not a bundle; make one with `edge-lorahub export {path} OUT`"
    return f"{path}: not a bundle (no {SIGNS['bundle']}); make one with `edge-lorahub export`"


def not_a_module(path: Path) -> str:
    """What a folder is that was given for a LoRA module, and what to do."""
    kind = kind_of(path)
    if kind == "bundle":
        return f"{path}: a bundle, not a LoRA module; a module is a PEFT folder, with {SIGNS['module']}"
    if found := modules_in(path):
        return (
            f"{path}: a folder of modules, not a module; name one of them, as {found[0]} "
            "(adapt takes all of them with --modules)"
        )
    if kind == "checkpoint":
        return f"{path}: a checkpoint, not a LoRA module; a module is a PEFT folder, with {SIGNS['module']}"
    return f"{path / SIGNS['module']}: no such file; a LoRA module is a folder of PEFT or mlx_lm that has it"
