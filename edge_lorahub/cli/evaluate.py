"""`edge-lorahub evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .main import COMMANDS


@click.command(short_help=COMMANDS["evaluate"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("data", type=click.Path(path_type=Path))
@options.adapter
@options.data
@options.decoding
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Write every prediction to this JSONL file, in the place of one that is there.",
)
@options.threads
@options.as_json
def command(
    bundle: Path, data: Path, adapter: str | None, limit: int | None, shuffle_seed: int | None,
    max_new_tokens: int, max_input_tokens: int, batch_size: int, predictions: Path | None,
    threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure exact match on a file of examples.

    DATA is JSONL or JSON as for adapt. Prediction and output are compared as the paper's released code
    does: without space at the ends, capitals and full stops.
    """
    import json

    from ..errors import SettingsError
    from ..evaluation import evaluate
    from ..examples import read_examples
    from ..files import check_output_file, write_text

    if predictions is not None:
        if predictions.resolve() == data.resolve():
            raise SettingsError(f"{predictions}: the examples themselves; name another file for the predictions")
        check_output_file(predictions)
    examples = read_examples(data, limit=limit, shuffle_seed=shuffle_seed)
    model, loaded = options.load_model(bundle, adapter, threads)
    result = evaluate(
        model, examples, adapter=loaded, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens,
        batch_size=batch_size,
    )  # fmt: skip
    if predictions is not None:
        rows = (
            {"input": e.input, "output": e.output, "prediction": p, "correct": c}
            for e, p, c in zip(examples, result.predictions, result.correct, strict=True)
        )
        write_text(predictions, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    correct, count = sum(result.correct), len(result.correct)
    if as_json:
        click.echo(json.dumps({"correct": correct, "count": count, "exact_match": result.accuracy}))
    else:
        click.echo(f"exact match: {correct} of {count}, {result.accuracy:.1%}")
