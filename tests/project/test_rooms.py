"""The plan of the house: which room imports from which. A room is a folder, or a file at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
PACKAGES = {"edge_lorahub": "edge_lorahub", "export": "edge_lorahub.export", "bench": "edge_lorahub.bench"}

# Floors from the ground up. A room imports from rooms on floors below its own, and from nothing else.
FLOORS = (
    {"errors", "_version", "hidden_characters", "label_logits", "tinyhub"},
    {"messages"},
    {"machine", "files", "langhub"},
    {"examples", "tensors", "hub", "tokenizer"},
    {"search"},
    {"bundle", "testing", "bench.tinyhub"},
    {"lora", "export.source"},
    {"composition", "export.blocks", "export.gguf"},
    {"runtime", "convert", "sharing", "export.families", "export.prompts", "export.merging", "inspection"},
    {"export"},
    {"learning", "evaluation"},
    {"export.checks", "comparison", "report"},
    {"edge_lorahub"},
    {"bench", "serve"},
    {"bench.langhub"},
    {"cli"},
    {"__main__"},
)
# Rooms of the exporter, which the package reaches only in the commands that export.
OPTIONAL = ("export", "bench")


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((TOP / folder).rglob("*.py")):
            parts = [package, *path.relative_to(TOP / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return "edge_lorahub"
    inner = parts[0] in OPTIONAL and len(parts) > 1 and (TOP / parts[0] / parts[1]).is_dir()
    return ".".join(parts[:2]) if inner else parts[0]


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports of ours, wherever in the file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                if whole in known or base in known:
                    yield whole if whole in known else base


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room) -> the imports between them."""
    known = modules()
    found: dict[tuple[str, str], list[str]] = {}
    for module, path in known.items():
        for other in imports(module, path, known):
            if room_of(module) != room_of(other):
                found.setdefault((room_of(module), room_of(other)), []).append(f"{module} -> {other}")
    return found


def test_every_room_is_on_the_plan() -> None:
    rooms = {room_of(module) for module in modules()}
    assert rooms == set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(rooms), "a room is on two floors"


def test_no_arrow_goes_up() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    upward = [lines for (room, other), lines in arrows().items() if floor[room] <= floor[other]]
    assert not upward, "\n".join(line for lines in upward for line in lines)


def test_only_commands_reach_the_exporter_and_the_benchmarks() -> None:
    """They need libraries that an installed runtime does not."""
    allowed = {"cli", *OPTIONAL}
    strange = [
        line
        for (room, other), lines in arrows().items()
        if other.split(".")[0] in OPTIONAL and room.split(".")[0] not in allowed
        for line in lines
    ]
    assert not strange


def test_the_package_list_has_every_package() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    listed = set(config["options"]["packages"].split())
    assert listed == {module for module, path in modules().items() if path.name == "__init__.py"}


def test_names_mean_one_thing() -> None:
    """No two modules of the runtime share a name, but for those that say the same of two things."""
    names: dict[str, list[str]] = {}
    for module, path in modules().items():
        if path.name != "__init__.py" and module.split(".")[1:2] != ["bench"]:
            names.setdefault(module.rpartition(".")[2], []).append(module)
    # a command is called as what it runs; settings are those of their room
    twins = {
        name: found
        for name, found in names.items()
        if len([module for module in found if not module.startswith("edge_lorahub.cli.")]) > 1
    }
    assert set(twins) <= {"settings", "graphs", "config"}, twins
