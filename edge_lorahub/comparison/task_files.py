"""Tasks read from files and folders: a task's different inputs, and which of them examples are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExamplesError, MissingPathError, SettingsError, warn
from ..examples.example import Example, read_examples
from ..files.user_path import user_path

# The released code's layout of a task's folder: the inputs that are answered, the examples to learn from, and the
# inputs with examples of their choice before them.
ANSWERED, LEARNED, PROMPTED = "zero_shot.jsonl", "example.jsonl", "few_shot.jsonl"
_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".tab")
_MOST_NAMED = 5


@dataclass(frozen=True)
class Task:
    """A task under its name, of examples with different inputs.

    examples: what the examples to learn from are drawn of. inputs: what may be answered; examples that are drawn never
    are. Without a split of its own both are the same.
    """

    name: str
    path: Path
    examples: tuple[Example, ...]
    inputs: tuple[Example, ...]


def read_tasks(paths: Sequence[str | Path]) -> list[Task]:
    """The tasks of files of examples, of folders in the released code's layout, and of folders of both.

    A task is called after its file or folder. Raises ExamplesError or MissingPathError, and SettingsError for two tasks
    of one name.
    """
    tasks: dict[str, Task] = {}
    for path in (found for given in paths for found in _sources(user_path(given))):
        task = _released(path) if path.is_dir() else _of_file(path)
        try:
            task.name.encode()
        except UnicodeEncodeError:
            raise ExamplesError(f"{str(path)!r}: a name that is not UTF-8, so no file can hold it; rename it") from None
        if task.name in tasks:
            raise SettingsError(
                f"two tasks are called {task.name!r:.80} ({tasks[task.name].path} and {path}); rename one of them"
            )
        tasks[task.name] = task
    return list(tasks.values())


def _sources(path: Path) -> Iterator[Path]:
    """The task's own path, or those in a folder of tasks, by name."""
    if not path.exists():
        raise MissingPathError(f"{path}: no such file or folder of examples")
    if not path.is_dir() or _is_released(path):
        yield path
        return
    found: list[Path] = []
    others: list[Path] = []
    for entry in sorted(path.iterdir()):
        if entry.name.startswith("."):
            continue
        is_task = _is_released(entry) if entry.is_dir() else entry.suffix.lower() in _ENDINGS
        (found if is_task else others).append(entry)
    if not found:
        raise ExamplesError(
            f"{path}: no task in it; expected files that end in {', '.join(_ENDINGS)}, or folders with {ANSWERED} and "
            f"{LEARNED}"
        )
    if others:
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        warn(f"{path}: not taken for tasks: {', '.join(entry.name for entry in others[:_MOST_NAMED])}{more}")
    yield from found


def _is_released(folder: Path) -> bool:
    return folder.is_dir() and ((folder / ANSWERED).is_file() or (folder / LEARNED).is_file())


def _of_file(path: Path) -> Task:
    examples = _different(path, read_examples(path))
    return Task(path.stem, path, examples, examples)


def _released(folder: Path) -> Task:
    for name in (ANSWERED, LEARNED):
        if not (folder / name).is_file():
            raise MissingPathError(f"{folder}: has no {name}, which a task in the released code's layout needs")
    if (folder / PROMPTED).is_file():
        warn(
            f"{folder}: its {PROMPTED} is not used, as its prompts have examples of its own; here a prompt has those "
            "that weights are learned from"
        )
    answered, learned = folder / ANSWERED, folder / LEARNED
    return Task(
        folder.resolve().name,
        folder,
        _different(learned, read_examples(learned)),
        _different(answered, read_examples(answered)),
    )


def _different(path: Path, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples with different inputs, the first of each: what is there twice would be learned and asked."""
    first: dict[str, Example] = {}
    contradicted = set()
    for example in examples:
        if any("\ud800" <= character <= "\udfff" for character in example.input + example.output):
            raise ExamplesError(f"{path}: not valid Unicode (a lone surrogate) in {example.input!a:.60}; mend the text")
        known = first.setdefault(example.input.strip(), example)
        if known.output != example.output:
            contradicted.add(known.input)
    if repeated := len(examples) - len(first):
        odd = f", {len(contradicted)} of them with several outputs" if contradicted else ""
        warn(f"{path}: {repeated} of {len(examples)} inputs are there before{odd}; the first of each is taken")
    return tuple(first.values())
