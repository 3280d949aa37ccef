"""`optimum`: the merged checkpoint as optimum exports it, for ORTModelForSeq2SeqLM, ORTModelForCausalLM and others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_lorahub.bundle.architectures import ENCODER_DECODER
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.convert.converted_folder import converted_folder
from edge_lorahub.errors import CheckpointError, EdgeLorahubError, EdgeLorahubWarning, MissingDependencyError

from .families import find_family
from .merged_checkpoint import base_folder, keep_tokenizer, merged_beside
from .open_source import is_on_the_hub

# Models of which optimum-onnx 0.1.0 reads head_dim.
_HEADS_KNOWN = ("gemma", "gemma3_text")
_TASKS = {True: "text2text-generation-with-past", False: "text-generation-with-past"}


def to_optimum(
    adapter: Adapter, base: str | Path, out: Path, *, revision: str | None = None, force: bool = False
) -> list[str]:
    """Writes the files of optimum's own export of W + delta, in float32; gives the names of the graphs.

    The checkpoint with the adapter in it is made beside the output and removed again. Raises MissingDependencyError
    without optimum-onnx and torch, CheckpointError where optimum cannot export it, and what `to_checkpoint` raises.
    """
    if is_on_the_hub(base):
        check_optimum()  # before the download; a local base is looked at first
    source, kinds = base_folder(adapter, base, revision)
    check_optimum()
    with merged_beside(adapter, source, kinds, out) as merged:
        family = find_family(source.config, source.config_path)
        task = _TASKS[family.architecture == ENCODER_DECODER]
        with converted_folder(out, "optimum", adapter, force=force) as work:
            try:
                _export(merged, work, task)
            except (EdgeLorahubError, MemoryError, OSError):
                raise
            except Exception as error:
                raise CheckpointError(
                    f"{source.path}: optimum cannot export it: {type(error).__name__}: {error}"
                ) from error
            keep_tokenizer(source.path, work)
            _warn_of_heads(source.config, out)
            return sorted(file.name for file in work.glob("*.onnx"))


def _warn_of_heads(config: Mapping[str, Any], out: Path) -> None:
    """Of models whose heads are not width / heads in size, which optimum-onnx 0.1.0 assumes where it runs its files.

    Such are flan-t5-small and Qwen3. It runs T5's decoders where they are not merged, and Gemma.
    """
    t5 = "d_kv" in config
    keys = ("d_model", "num_heads", "d_kv") if t5 else ("hidden_size", "num_attention_heads", "head_dim")
    width, heads, size = (config.get(key) for key in keys)
    if not (isinstance(width, int) and isinstance(heads, int) and isinstance(size, int)) or width == heads * size:
        return
    if config.get("model_type") not in _HEADS_KNOWN:
        warnings.warn(
            f"{out}: optimum-onnx 0.1.0 takes {keys[0]} / {keys[1]} for the size of a head, which is {size}, so it "
            + ("runs these files with use_merged=False alone" if t5 else "cannot run this file; other programs can"),
            EdgeLorahubWarning,
            stacklevel=3,
        )


def check_optimum() -> None:
    """Raises MissingDependencyError."""
    try:
        for name in ("torch", "optimum.exporters.onnx"):
            import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"optimum's form takes optimum-onnx and torch: pip install 'edge-lorahub[optimum]' ({error})"
        ) from error


def _export(merged: Path, work: Path, task: str) -> None:
    """optimum's, without what torch's tracer and transformers say of their own code."""
    from optimum.exporters.onnx import main_export
    from transformers.utils import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            main_export(
                str(merged), output=str(work), task=task, dtype="fp32", do_validation=False, local_files_only=True
            )
        finally:
            logging.set_verbosity(before)
