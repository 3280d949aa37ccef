"""What a path is: a bundle, an adapter, a module or a checkpoint, and what is worth knowing of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .bundle.manifest import read_manifest
from .bundle.prompt import Prompt
from .composition.record_file import SIDECAR, OldRecordError, read_record
from .errors import CheckpointError, MissingPathError
from .files.kinds import SIGNS, kind_of, modules_in
from .files.outputs import check_digests, read_json
from .files.user_path import user_path
from .lora.loading import load_module, module_path

# A comparison's files, of which the second is written when it ends.
_RUN, _RESULTS = "run.json", "results.json"
# Bytes of a comparison's file, which has every cell.
_LARGEST_COMPARISON = 256 << 20


def inspect(source: str | Path, *, check: bool = False) -> dict[str, Any]:
    """Facts about a path, "kind" first: bundle, adapter, module, checkpoint or comparison.

    source is a local folder, or a module's Hub id. check reads everything: a bundle's files against their
    digests. Raises MissingPathError, HubError, or the error of what is wrong with the thing.
    """
    folder = user_path(source)
    if not folder.is_dir():
        folder = module_path(source)
    kind = "module" if folder.is_file() else kind_of(folder)
    if kind == "bundle":
        return _bundle(folder, check)
    if kind == "module":
        return _module(folder)
    if kind == "checkpoint":
        return _checkpoint(folder)
    if _is_comparison(folder):
        if not (folder / _RESULTS).is_file():
            return {"kind": "comparison", "state": "not ended; the same `edge-lorahub compare` goes on with it"}
        return {"kind": "comparison", "shown by": f"edge-lorahub report {folder} -o FILE.html"}
    if found := modules_in(folder):
        raise MissingPathError(f"{folder}: a folder of modules; name one of them, as {found[0]}")
    raise MissingPathError(
        f"{folder}: no bundle ({SIGNS['bundle']}), adapter or module ({SIGNS['module']}), or checkpoint "
        f"({SIGNS['checkpoint']}) in it"
    )


def _bundle(folder: Path, check: bool) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if check:
        check_digests(folder, manifest.sha256)
    model = manifest.model
    return {
        "kind": "bundle",
        "base model": model.base_model,
        "family": f"{model.family} ({manifest.architecture})",
        "precision": manifest.precision,
        "layers": model.layers,
        "heads": f"{model.heads} of {model.head_size}"
        + (f", {model.kv_heads} of keys and values" if model.kv_heads != model.heads else ""),
        "vocabulary": model.vocab_size,
        **({} if model.longest_text is None else {"longest": f"{model.longest_text} tokens with the answer"}),
        "slots": f"{len(manifest.slots)} ({','.join(manifest.kinds())})",
        **({} if manifest.prompt.is_plain else {"chat template": _template(manifest.prompt)}),
        **({"baked in": ", ".join(baked.name for baked in manifest.baked)} if manifest.baked else {}),
        "size": _size(folder / name for name in manifest.files),
        "made by": f"edge-lorahub {manifest.tool_version}",
        **({"checked": "all files match their digests"} if check else {}),
    }


def _template(prompt: Prompt) -> str:
    return "with a place for a system text" if prompt.takes_system else "without a place for a system text"


def _module(folder: Path) -> dict[str, Any]:
    module = load_module(folder)
    parameters = largest = 0
    idle = True
    for _, lora in module.loras():
        parameters += lora.a.size + lora.b.size
        largest = max(largest, lora.a.shape[0])
        idle = idle and not lora.scaled_b().any()
    ranks = sorted({rank for rank, _, _ in module.shapes.values()})
    scales = sorted(set(module.scales.values()))
    facts: dict[str, Any] = {
        "kind": "module",
        "base model": module.base_model or "not said",
        "layers": f"{len(module.shapes)} ({','.join(sorted({name.rpartition('.')[2] for name in module.shapes}))})",
        "rank": ", ".join(map(str, ranks)),
        "scale": ", ".join(f"{scale:g}" for scale in scales),
        "parameters": parameters,
        "file": f"{module.file.name}, {_size([module.file])}",
        "sha256": module.sha256,
    }
    if idle:
        facts["note"] = "all B are zero, or multiplied by 0: it changes nothing"
    try:
        record = read_record(module)
    except OldRecordError:
        return facts | {"kind": "adapter", "record": f"{SIDECAR} has no format version, and is not read"}
    if record is None:
        return facts
    chosen = record.selection
    if chosen is not None:
        facts["modules"] = (
            f"{len(chosen.scores)} of {chosen.considered}, chosen by {chosen.method} (seed {chosen.seed})"
        )
    return facts | {
        "kind": "adapter",
        "made by": record.made_by,
        "composition": record.settings.composition,
        "optimizer": record.optimizer,
        "candidates": len(record.trace),
        "examples": record.examples.count,
        "loss": f"{record.loss.before:.4f} before, {record.loss.after:.4f} after",
        "weights": dict(record.weights),
    }


def _checkpoint(folder: Path) -> dict[str, Any]:
    fields = read_json(folder / SIGNS["checkpoint"], CheckpointError)
    weights = sorted(folder.glob("*.safetensors"))
    names = (
        "model_type", "d_model", "d_ff", "d_kv", "num_heads", "num_layers", "hidden_size", "intermediate_size",
        "head_dim", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size",
        "feed_forward_proj",
    )  # fmt: skip
    return {
        "kind": "checkpoint",
        **{name: fields[name] for name in names if name in fields},
        "weights": f"{len(weights)} safetensors, {_size(weights)}" if weights else "no safetensors",
        "tokenizer": "tokenizer.json" if (folder / "tokenizer.json").is_file() else "no tokenizer.json",
    }


def _is_comparison(folder: Path) -> bool:
    """Whether `compare` made it, by what its files say; what they say beyond that is for a report."""
    for name in (_RUN, _RESULTS):
        try:
            record = read_json(folder / name, CheckpointError, largest=_LARGEST_COMPARISON)
        except (CheckpointError, OSError):
            continue
        if str(record.get("name")).startswith("edge-lorahub comparison"):
            return True
    return False


def _size(files: Iterable[Path]) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
