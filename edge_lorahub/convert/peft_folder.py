"""`peft`: a plain PEFT folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..composition.adapter import Adapter
from ..composition.record_file import write_record
from ..files.outputs import digests_of
from ..lora.peft_config import CONFIG
from ..lora.peft_files import SAFETENSORS, write_peft
from .converted_folder import converted_folder


def to_peft(adapter: Adapter, out: Path, *, force: bool = False, facts: Mapping[str, object] | None = None) -> None:
    """Writes a PEFT folder that every peft from 0.6 on loads.

    The record of an adapter that was learned here goes along; what its search has seen stays behind. facts: see
    `converted_folder`, which says what else is raised. Raises ModuleFileError for numbers that are not finite.
    """
    adapter.check()
    with converted_folder(out, "peft", adapter, force=force, facts=facts) as work:
        write_peft(work, adapter.base_model, adapter.pairs, adapter.task_type)
        if adapter.record is not None:
            write_record(work, adapter.record, adapter.sha256, digests_of(work, (CONFIG, SAFETENSORS)))
