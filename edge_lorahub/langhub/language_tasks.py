"""Unseen tasks: a skill in a form, which no module was trained on together. Only their examples tell which."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "data" / "tasks"

# Name -> what the examples show. Choices were made on these, so that their figures are not those of a test.
TASKS = {
    "past-json": "the past tense of a verb, as JSON",
    "gerund-sentence": "the -ing form of a verb, in a sentence",
    "plural-twice": "the plural of a noun, twice",
    "comparative-bold": "the comparative of an adjective, in bold type",
    "article-bracket": "a noun with its article, in brackets",
    "kind-arrow": "a thing, an arrow, and its kind",
    "number-bracket": "a number in words, in brackets",
    "bigger-twice": "the larger of two numbers, twice",
    "reverse-sentence": "three words from last to first, in a sentence",
    "sentiment-title": "whether a sentence is positive or negative, with a capital",
}


def task_file(name: str) -> Path:
    """The JSONL file of a task's examples: those to learn from first, then those to measure on."""
    return _FOLDER / f"{name}.jsonl"
