"""Unseen tasks: a skill in a form, which no module was trained on together. Only their examples tell which."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "data" / "tasks"

# Name -> what the examples show. Choices were made on these, so that their figures are not those of a test.
TASKS = {
    "past-json": "the past tense of a verb, as JSON",
    "gerund-sentence": "the -ing form of a verb, in a sentence",
    "number-bracket": "a number in words, in brackets",
    "reverse-sentence": "three words from last to first, in a sentence",
}


def task_file(name: str) -> Path:
    """The JSONL file of a task's examples: those to learn from first, then those to measure on."""
    return _FOLDER / f"{name}.jsonl"
