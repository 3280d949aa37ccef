"""From a folder to its report: which kind it is, and the page of that kind."""

from __future__ import annotations

from pathlib import Path

from ..composition.record_file import SIDECAR, OldRecordError, read_record
from ..errors import MissingPathError, ModuleFileError
from ..files.kinds import kind_of
from ..files.user_path import user_path
from ..lora.loading import load_module
from .adapter_page import adapter_page
from .before_after import Answers
from .comparison_page import comparison_page
from .render import render
from .results_file import RESULTS, read_results

# What a comparison's folder has before its results are there.
_RUN = "run.json"
_WANTED = f"a report is of an adapter's folder (with {SIDECAR}) or a comparison's (with {RESULTS})"


def report(source: str | Path, answers: Answers | None = None) -> str:
    """The HTML of a folder's report; answers: of an adapter to examples.

    Raises MissingPathError for a folder of another kind, ModuleFileError or JournalError for damaged files, and
    MissingDependencyError.
    """
    folder = user_path(source)
    if kind_of_report(folder) == "comparison":
        return render(comparison_page(_name(folder), *read_results(folder)))
    module = load_module(folder)
    try:
        record = read_record(module)
    except OldRecordError as error:
        raise ModuleFileError(f"{error}; a report needs a record, so learn the adapter again") from error
    if record is None:
        raise MissingPathError(f"{folder / SIDECAR}: no such file; {_WANTED}")
    return render(adapter_page(_name(folder), module.sha256, record, answers))


def kind_of_report(folder: Path) -> str:
    """ "adapter" or "comparison". Raises MissingPathError for anything else."""
    if (folder / SIDECAR).is_file():
        return "adapter"
    if (folder / RESULTS).is_file():
        return "comparison"
    if not folder.exists():
        raise MissingPathError(f"{folder}: no such folder; {_WANTED}")
    if folder.is_file():
        raise MissingPathError(f"{folder}: a file; {_WANTED}, so name the folder")
    if (folder / _RUN).is_file():
        raise MissingPathError(
            f"{folder}: a comparison without {RESULTS}, not ended; the same `edge-lorahub compare` goes on with it"
        )
    kind = kind_of(folder)
    if kind == "module":
        raise MissingPathError(f"{folder}: a LoRA module of other origin, without {SIDECAR}; {_WANTED}")
    raise MissingPathError(
        f"{folder}: {f'a {kind}' if kind else f'neither {SIDECAR} nor {RESULTS} is in it'}; {_WANTED}"
    )


def _name(folder: Path) -> str:
    """A folder's own name, also of "." and ".."."""
    return folder.resolve().name or str(folder)
