"""How the files are cut: one idea a file, names that mean one thing, and families named in their own files alone."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
RUNTIME = sorted((TOP / "edge_lorahub").rglob("*.py"))
OTHERS = sorted(path for folder in ("export", "bench") for path in (TOP / folder).rglob("*.py"))
# Files of one name that are of one thing: a room's settings; a command and what it runs.
SAME = {
    "settings.py": {"edge_lorahub/learning", "edge_lorahub/search"},
    "bake.py": {"edge_lorahub/cli", "edge_lorahub/convert"},
}
# The two hubs are made alike: a file of one has a twin in the other.
TWINS = ({"bench/langhub", "bench/tinyhub"}, {"bench/langhub", "edge_lorahub/tinyhub"})
# Where a kind of model is named: its own files, the list of kinds, and random checkpoints of published sizes.
KINDS = re.compile(
    r"edge_lorahub/(runtime/(encoder_decoder|decoder_only)/.*|bundle/(encoder_decoder|decoder_only|architectures)\.py"
    r"|testing/.*)"
)
WORDS = re.compile(r"encoder|decoder|cross", re.IGNORECASE)
# Of other things: a tokenizer's decoder, of the library.
OTHER_WORDS = {"edge_lorahub/tokenizer/tokenizer_parts.py": {"decoder"}}


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(TOP)))
def test_no_file_of_the_runtime_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_no_two_files_of_one_name_mean_different_things() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (*RUNTIME, *OTHERS):
        if not path.name.startswith("__"):
            found[path.name].add(str(path.parent.relative_to(TOP)))
    shared = {name: folders for name, folders in found.items() if len(folders) > 1}
    assert {name: folders for name, folders in shared.items() if folders not in TWINS} == SAME


def names_in(path: Path) -> set[str]:
    """The identifiers of a file, and the modules that it imports; no text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "arg", "name", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


def test_kinds_of_models_are_named_in_their_own_files() -> None:
    for path in RUNTIME:
        where = str(path.relative_to(TOP))
        if not KINDS.fullmatch(where):
            assert {name for name in names_in(path) if WORDS.search(name)} == OTHER_WORDS.get(where, set()), where
