"""`edge-lorahub adapt`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SettingsError
from . import module_sources, options
from .earlier import seen_by, weights_of
from .holdout import MOST_EXAMPLES, split, use
from .main import COMMANDS
from .printable import count_of, say, say_json
from .system_text import place_system
from .truncation import truncated

if TYPE_CHECKING:
    from ..bundle.prompt import Prompt
    from ..examples.example import Example
    from ..learning.learned import Learned
    from ..learning.settings import Settings
    from ..lora.modules import Modules
    from ..runtime.opened import OpenBundle
    from ..runtime.session import Model
    from ..search.evaluations import Evaluations
    from .journal_keeper import JournalKeeper


@click.command(short_help=COMMANDS["adapt"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("examples", type=click.Path(path_type=Path))
@module_sources.named
@module_sources.from_hub
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The adapter's folder.")
@options.budget
@click.option("--seed", default=1, show_default=True, help="The optimizer's seed, and that of what --count draws.")
@options.search
@click.option(
    "--step-size",
    default=0.075,
    show_default=True,
    help="CMA-ES: the first generation's standard deviation, in units of w.",
)
@click.option("--population", default=6, show_default=True, help="CMA-ES: candidates a generation.")
@click.option(
    "--regularization",
    type=float,
    help="Times mean |w|, added to the loss.  [default: 0.2 with the surrogate, 0.05 without]",
)
@click.option(
    "--holdout",
    type=options.Holdout(),
    metavar="N|SHARE",
    help="Keep that many examples aside (40, 0.2 or 20%), from the file's end, and measure on them before and after.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Learn from this many examples, from the file's front.  [default: at most {MOST_EXAMPLES}]",
)
@click.option("--shuffle-seed", type=int, help="Shuffle the examples with this seed first.")
@click.option(
    "--answers/--no-answers",
    default=None,
    help="Answer the examples before and after, once the search is done.  [default: without --memory-limit]",
)
@click.option(
    "--warm-start",
    metavar="ADAPTER",
    help="Begin with the weights of an earlier adaptation, by the modules' names, and with what it has seen of the "
    "same examples: an adapter's folder.",
)
@click.option(
    "--reuse",
    metavar="ADAPTER",
    help="Take what the search for an earlier adapter has seen of the same examples, and nothing else of it.",
)
@click.option("--rank", type=click.IntRange(1), help="Truncate the adapter to this rank, by SVD.")
@click.option("--max-input-tokens", default=2048, show_default=True, help="Longer inputs are cut, with a warning.")
@click.option("--max-output-tokens", default=2048, show_default=True, help="Longer outputs are cut, with a warning.")
@options.prompt
@click.option(
    "--racing/--no-racing",
    default=True,
    show_default=True,
    help="Stop candidates that cannot matter any more; the result is the same.",
)
@click.option(
    "--memory-limit",
    type=options.MemorySize(),
    help="Stay below this, by an estimate (800MB, 1.5GB): smaller batches, fewer candidates at once.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a search that was ended, from the journal beside --out; with the same inputs and options.",
)
@click.option(
    "--keep-best",
    is_flag=True,
    help="With --resume: evaluate no more, and take the best found so far; the journal stays, to go on later.",
)
@options.threads
@options.force
@options.as_json
def command(
    bundle: Path, examples: Path, sources: tuple[str, ...], parents: tuple[Path, ...], out: Path, budget: int | None,
    seed: int, composition: str | None, optimizer: str, surrogate: bool | None, step_size: float, population: int,
    regularization: float | None, holdout: int | float | None, warm_start: str | None, reuse: str | None,
    rank: int | None, max_input_tokens: int, max_output_tokens: int, racing: bool, memory_limit: int | None,
    limit: int | None, shuffle_seed: int | None, answers: bool | None, resume: bool, keep_best: bool,
    threads: int | None, force: bool, as_json: bool, prompt_format: str | None, system: str | None, hub: bool,
    store: str | None, tags: tuple[str, ...], count: int | None, method: str | None,
) -> None:  # fmt: skip
    """Learn a task: find weights for LoRA modules from a few examples.

    EXAMPLES is JSONL, JSON, CSV or TSV, with "input" and "output" or other people's names for them: Alpaca's,
    question and answer, prompt and completion, messages of one turn, BIG-Bench Hard's.
    The adapter is a PEFT folder that generate, evaluate and peft read.
    """
    from ..composition.adapter import ADAPTER_FILES
    from ..composition.record_file import record_json
    from ..examples.example import read_with_system
    from ..files.outputs import check_output_folder
    from ..learning.memory import plan
    from ..learning.settings import Settings
    from ..runtime.opened import OpenBundle
    from ..runtime.prompt_choice import choose_prompt
    from ..runtime.session import Model, default_threads
    from ..search.choose import at_once, prepare
    from .journal_keeper import JournalKeeper

    module_sources.refuse_idle(hub, parents, count, method)
    if keep_best and not resume:
        raise SettingsError("--keep-best takes what a journal has; give --resume too")
    options.refuse_unused(
        optimizer, ["step_size", "population", "racing", *(["surrogate"] if surrogate is False else [])]
    )
    settings = Settings(
        optimizer=optimizer, surrogate=surrogate, budget=budget, seed=seed, composition=composition,
        regularization=regularization, step_size=step_size, population=population,
        max_input_tokens=max_input_tokens, max_output_tokens=max_output_tokens, racing=racing,
    )  # fmt: skip
    # everything that can be wrong is looked at before the slow part
    keeper = JournalKeeper(out, resume=resume, keep_best=keep_best, force=force)
    if keeper.saved:
        if as_json:
            say_json({"adapter": str(out)})
        else:
            say(f"adapter: {out}")
        return
    check_output_folder(out, force=force, names=ADAPTER_FILES)
    read, systems = read_with_system(examples, shuffle_seed=shuffle_seed)
    task, held_out = split(list(read), holdout, limit, examples)
    systems = [*systems[: len(task)], *systems[len(systems) - len(held_out) :]]  # of those that are used
    opened = OpenBundle(bundle)
    prompt = choose_prompt(opened, prompt_format, system)
    placed, prompt = place_system(examples, [*task, *held_out], systems, opened, prompt, system)
    task, held_out = placed[: len(task)], placed[len(task) :]
    choice = module_sources.Choice(hub, store, tags, count, seed, method)
    for_task = module_sources.Task(task, partial(_losses_alone, opened, threads, task, settings, prompt))
    modules, selection = module_sources.modules_of(sources, parents, choice, opened.manifest, for_task)
    start = None if warm_start is None else weights_of(warm_start, settings, opened.manifest, modules, prompt)
    known = seen_by(reuse, warm_start, settings, prompt)
    prepare(settings)
    workers: int | None = None
    if memory_limit is not None:
        at_most = min(at_once(settings), threads or default_threads())
        planned = plan(opened, list(modules), task, settings, at_most, memory_limit, prompt)
        settings, workers = replace(settings, batch_tokens=planned.batch_tokens), planned.workers
    model = Model(opened, threads=threads)
    with keeper:
        result = learn_with_progress(model, modules, task, settings, start, known, keeper, workers, prompt)
        result = replace(result, record=replace(result.record, selection=selection))
    del model  # the adapter of many modules takes memory of its own
    with keeper.until_saved(result) as saving:
        adapter, error, said = result.compose(modules), None, ""
        if rank is not None:
            adapter, error, said = truncated(adapter, rank)
        saving(adapter.sha256)
        adapter.save(out, force=force)
    found: dict[str, Any] = {"adapter": str(out)}
    if error is not None:
        found["truncation_error"] = error
    if not as_json:
        _print_report(result, settings, len(task))
        if error is not None:
            say(f"{said}; the loss above is before that" if error else said)
    if answers is None:
        answers = memory_limit is None  # a model that generates takes memory that the limit's estimate does not count
    if answers or held_out:
        found |= use(
            bundle, adapter, modules, task, held_out, settings, threads, prompt, answers=answers, quiet=as_json
        )
    if as_json:
        say_json(record_json(result.record) | found)
    else:
        say(f"adapter: {out}")


def _losses_alone(
    opened: OpenBundle, threads: int | None, examples: list[Example], settings: Settings, prompt: Prompt,
    modules: Modules,
) -> list[float]:  # fmt: skip
    from ..learning.alone import losses_alone
    from ..runtime.session import Model
    from .progress import progress

    with progress("probing", len(modules), 1) as advance:
        # of a model of its own, which goes before the search's takes memory
        found = losses_alone(Model(opened, threads=threads), modules, examples, settings, prompt, advance)
    return [float(loss) for loss in found]


def learn_with_progress(
    model: Model, modules: Modules, examples: list[Example], settings: Settings,
    start: Mapping[str, float] | None = None, evaluations: Evaluations | None = None,
    keeper: JournalKeeper | None = None, workers: int | None = None, prompt: Prompt | None = None,
) -> Learned:  # fmt: skip
    """The search, with what it shows of itself on standard error."""
    from ..learning.adaptation import learn
    from .live import SearchView

    with SearchView(modules.names) as view:
        return learn(
            model, modules, examples, settings, start=start, evaluations=evaluations, workers=workers,
            on_candidate=view.candidate, on_budget=view.budget,
            open_journal=None if keeper is None else keeper.open, known_only=keeper is not None and keeper.keep_best,
            prompt=prompt,
        )  # fmt: skip


def _print_report(result: Learned, settings: Settings, examples: int) -> None:
    from ..search.settings import CMA
    from .search_report import print_losses, print_time, print_weights

    say(
        f"{count_of(len(result.weights), 'module')}, {count_of(examples, 'example')}, {result.optimizer}, "
        f"{settings.chosen_composition} composition"
    )
    print_weights(result)
    print_losses(result, "as the released code counts it" if settings.preset.token_loss else "mean")
    print_time(result, racing=settings.racing and settings.optimizer == CMA)
