"""The folder that a conversion makes: whole or not at all, with a record by which `--force` knows it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .._version import __version__
from ..composition.adapter import Adapter
from ..errors import BundleError, SettingsError
from ..files.kinds import CONVERSION
from ..files.outputs import check_output_folder, digests_of, output_folder, read_json
from ..files.user_path import user_path
from ..lora.base_names import public_name

RECORD = CONVERSION


def check_converted(out: str | Path, inputs: Sequence[str | Path], *, force: bool) -> Path:
    """The output's path, after a check that it may be made, before the slow part.

    inputs: what is read; those that are folders or files here may not be the output, nor lie in it. Raises
    SettingsError, OutputExistsError or NotWritableError.
    """
    path = user_path(out)
    if str(out) == "":
        raise SettingsError("an output folder is needed (--out)")
    place = path.resolve()
    for each in inputs:
        source = user_path(each)
        if str(each) and source.exists() and place in (source.resolve(), *source.resolve().parents):
            raise SettingsError(f"{out}: is or holds {each}, which is read; name another folder for the output")
    check_output_folder(path, force=force, names=_names(path))
    return path


@contextmanager
def converted_folder(
    out: Path, form: str, adapter: Adapter, *, force: bool, facts: Mapping[str, object] | None = None
) -> Iterator[Path]:
    """A new folder to write files into, which becomes `out` when the block ends without an error.

    facts: what the record says beside the form and the adapter; read when the block ends. Raises what
    `files.outputs.output_folder` raises.
    """
    with output_folder(out, force=force, names=_names(out)) as work:
        yield work
        record = {
            "made_by": f"edge-lorahub {__version__}",
            "form": form,
            "adapter": {"name": Path(adapter.name).name, "sha256": adapter.sha256},
            "base_model": public_name(adapter.base_model),
            **(facts or {}),
            "sha256": digests_of(work, sorted(file.name for file in work.iterdir())),
        }
        (work / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _names(out: Path) -> tuple[str, ...]:
    """The files that an earlier conversion wrote there, its record first; `output_folder` compares their digests."""
    files: object = None
    with suppress(BundleError, OSError):
        files = read_json(out / RECORD, BundleError).get("sha256")
    return (RECORD, *(files if isinstance(files, dict) else ()))
