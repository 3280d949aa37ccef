"""`edge-lorahub evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .main import COMMANDS
from .printable import say, say_json
from .progress import progress


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
@options.threads
@options.as_json
def command(
    bundle: Path, data: Path, adapter: str | None, limit: int | None, shuffle_seed: int | None, skip: int,
    max_new_tokens: int, max_input_tokens: int, batch_size: int, predictions: Path | None,
    threads: int | None, as_json: bool, prompt_format: str | None, system: str | None,
) -> None:  # fmt: skip
    """Measure exact match on a file of examples.

    DATA is JSONL, JSON, CSV or TSV, as for adapt. "exact match" counts predictions that are the output to the letter,
    "normalized match" compares as the paper's released code does: without space at the ends, capitals and
    full stops. Both are shares in percent.
    """
    import json

    from ..composition.record_check import warn_of_learned_examples
    from ..errors import SettingsError
    from ..evaluation.matches import evaluate
    from ..examples.example import read_examples
    from ..files.outputs import check_output_file, write_text

    if predictions is not None:
        if predictions.resolve() == data.resolve():
            raise SettingsError(f"{predictions}: the examples themselves; name another file for the predictions")
        check_output_file(predictions)
    examples = read_examples(data, skip=skip, limit=limit, shuffle_seed=shuffle_seed)
    model, loaded, prompt = options.load_model(bundle, adapter, threads, prompt_format, system)
    if loaded is not None and loaded.record is not None:
        warn_of_learned_examples(loaded.name, loaded.record, examples)
    with progress("examples", len(examples), batch_size) as on_answers:
        result = evaluate(
            model, examples, adapter=loaded, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens,
            batch_size=batch_size, on_answers=on_answers, prompt=prompt,
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
