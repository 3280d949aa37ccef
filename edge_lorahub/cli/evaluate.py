"""`edge-lorahub evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OutputExistsError, OutputFailedError, warn
from ..files.locks import locked
from . import options
from .kept_cells import keeping
from .main import COMMANDS
from .printable import say, say_json
from .progress import progress
from .system_text import place_system

if TYPE_CHECKING:
    from ..bench.cells import Cells
    from ..bundle.prompt import Prompt
    from ..composition.adapter import Adapter
    from ..examples.example import Example
    from ..runtime.session import Model

# How the first line of `bench.cells.Cells` begins, and the most of it that is read.
_HEADER, _MOST_HEADER = b'{"name": "edge-lorahub cells"', 4096
# What a line of predictions has, and the most of it that is read.
_ROW, _LONGEST_ROW = {"input", "output", "prediction", "exact", "normalized"}, 64 << 20


@click.command(short_help=COMMANDS["evaluate"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("data", type=click.Path(path_type=Path))
@options.adapter
@options.data
@options.skip
@options.decoding
@options.prompt
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Write every prediction to this JSONL file, in the place of one that is there.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an evaluation that was ended, from the predictions kept beside --predictions.",
)
@options.threads
@options.as_json
def command(
    bundle: Path, data: Path, adapter: str | None, limit: int | None, shuffle_seed: int | None, skip: int,
    max_new_tokens: int, max_input_tokens: int, batch_size: int, predictions: Path | None,
    resume: bool, threads: int | None, as_json: bool, prompt_format: str | None, system: str | None,
) -> None:  # fmt: skip
    """Measure exact match on a file of examples.

    DATA is JSONL, JSON, CSV or TSV, as for adapt. "exact match" counts predictions that are the output to the letter,
    "normalized match" compares as the paper's released code does: without space at the ends, capitals and
    full stops. Both are shares in percent.
    """
    import json

    from ..errors import SettingsError
    from ..evaluation.matches import evaluate
    from ..examples.example import read_with_system
    from ..files.outputs import check_output_file, write_text

    if resume and predictions is None:
        raise SettingsError("--resume goes on with what is kept beside --predictions; give that too")
    if predictions is not None:
        if predictions.resolve() == data.resolve():
            raise SettingsError(f"{predictions}: the examples themselves; name another file for the predictions")
        check_output_file(predictions)
        _check_ours(predictions)
        if resume:
            _refuse_complete(predictions)
    examples, systems = read_with_system(data, skip=skip, limit=limit, shuffle_seed=shuffle_seed)
    options.warn_of_fewer(data, limit, len(examples))
    model, loaded, prompt = options.load_model(bundle, adapter, threads, prompt_format, system)
    examples, prompt = place_system(data, examples, systems, model.bundle, prompt, system)
    with ExitStack() as stack:
        cells = None
        if predictions is not None:
            facts = _facts(
                model, loaded, examples, prompt,
                max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, batch_size=batch_size,
            )  # fmt: skip
            cells = stack.enter_context(_kept(predictions, facts, resume=resume))
        on_answers = stack.enter_context(progress("examples", len(examples), batch_size))
        result = evaluate(
            model, examples, adapter=loaded, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens,
            batch_size=batch_size, on_answers=on_answers, prompt=prompt, kept=cells,
        )  # fmt: skip
        if predictions is not None:
            rows = (
                {"input": e.input, "output": e.output, "prediction": p, "exact": exact, "normalized": normalized}
                for e, p, exact, normalized in zip(
                    examples, result.predictions, result.exact, result.normalized, strict=True
                )
            )
            write_text(predictions, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    count, exact, normalized = len(examples), sum(result.exact), sum(result.normalized)
    if as_json:
        record = {
            "count": count,
            "exact_matches": exact,
            "exact_match_percent": result.exact_match_percent,
            "normalized_matches": normalized,
            "normalized_match_percent": result.normalized_match_percent,
        }
        say_json(record)
        return
    say(f"exact match: {exact} of {count}, {result.exact_match_percent:.1f} %")
    say(
        f"normalized match (without capitals, full stops and outer spaces): {normalized} of {count}, "
        f"{result.normalized_match_percent:.1f} %"
    )


def _check_ours(predictions: Path) -> None:
    """Refuses to overwrite a file that has something else than predictions."""
    import json

    if not predictions.is_file() or not predictions.stat().st_size:
        return
    with predictions.open("rb") as file:
        first = file.readline(_LONGEST_ROW)
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or set(row) != _ROW:
        raise OutputExistsError(
            f"{predictions}: has no predictions of an earlier evaluation, so it will not be overwritten; choose "
            "another name, or remove it yourself"
        )


def _unfinished(predictions: Path) -> Path:
    """Where an evaluation keeps its predictions until it has all of them."""
    return predictions.with_name(f"{predictions.name}.unfinished.jsonl")


def _refuse_complete(predictions: Path) -> None:
    """Refuses to go on where all is done: the predictions do not say which bundle and adapter they are of."""
    if predictions.is_file() and predictions.stat().st_size and not _unfinished(predictions).is_file():
        raise OutputExistsError(
            f"{predictions}: complete already, with all predictions of an evaluation that has ended, so nothing is "
            "left to resume; without --resume it would be evaluated anew, and the file overwritten"
        )


@contextmanager
def _kept(predictions: Path, facts: dict[str, Any], *, resume: bool) -> Iterator[Cells]:
    """What is predicted, kept beside the file of predictions until that is written."""
    from ..bench.cells import Words

    file = _unfinished(predictions)
    if not resume and file.is_file():
        _remove_ended(file)
    words = Words("prediction", "made", "--predictions")
    with ExitStack() as stack:
        kept = keeping(
            file, ["example"], facts, lambda value: isinstance(value, str), resume=resume, named=False, words=words
        )
        try:
            cells = stack.enter_context(kept)
        except OutputFailedError as error:  # of the place that the user has named
            raise OutputFailedError(str(error).replace(str(file), str(predictions))) from error
        yield cells


def _remove_ended(file: Path) -> None:
    """Removes what an evaluation that was ended has kept; nothing else, and not that of one that still runs."""
    with file.open("r+b") as handle:
        if not handle.readline(_MOST_HEADER).startswith(_HEADER):
            return
        try:
            locked(handle.fileno())
        except BlockingIOError:
            return
        warn(f"{file}: kept by an evaluation that was ended; without --resume it begins anew")
        file.unlink()


def _facts(
    model: Model, adapter: Adapter | None, examples: Sequence[Example], prompt: Prompt, **limits: int
) -> dict[str, Any]:
    """What predictions depend on: those of other inputs are not taken for these."""
    import hashlib
    import json

    from ..bundle.manifest import MANIFEST
    from ..files.outputs import sha256
    from ..files.typed_json import to_json

    rows = json.dumps([(example.input, example.output) for example in examples])
    return {
        "bundle": sha256(model.folder / MANIFEST),
        "adapter": None if adapter is None else adapter.sha256,
        "examples": hashlib.sha256(rows.encode()).hexdigest(),
        "prompt": to_json(prompt),
        **limits,
    }
