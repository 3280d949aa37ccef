"""The documentation says what is so: links lead somewhere, blocks run, and options, names and figures exist."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest

import edge_lorahub
from edge_lorahub import Settings
from edge_lorahub._version import __version__
from edge_lorahub.cli.main import cli
from edge_lorahub.tinyhub import DEV_TASKS, examples
from edge_lorahub.tinyhub.hub import DATA

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
PAGES = sorted([*TOP.glob("*.md"), *DOCS.rglob("*.md")])
HOW_TOS = sorted((DOCS / "how-to").glob("*.md"))
# CommonMark's inline link or image, whose address has no spaces
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)")


def names(page: Path) -> str:
    return str(page.relative_to(TOP))


def script(name: str) -> ModuleType:
    """A program of docs/scripts, which is no package."""
    sys.path.insert(0, str(DOCS / "scripts"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


blocks = script("blocks")


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """A page's anchors, as GitHub makes them of its headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = next(n for n in range(len(found) + 1) if (f"{anchor}-{n}" if n else anchor) not in found)
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    for address in _LINK.findall(_CODE.sub("", prose(page))):
        if re.match(r"[a-z]+:", address):
            continue
        name, _, anchor = address.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{address}: not there"
        assert target.is_relative_to(TOP), f"{address}: outside of the repository"
        assert not anchor or anchor in anchors(target), f"{address}: no such heading, only {sorted(anchors(target))}"


def test_every_page_is_in_the_index() -> None:
    """Of docs/README.md, or of the index of its folder."""
    linked = {
        (index.parent / address.partition("#")[0]).resolve()
        for index in (TOP / "README.md", *DOCS.rglob("README.md"))
        for address in _LINK.findall(prose(index))
    }
    assert {page for page in DOCS.rglob("*.md") if page not in linked} == set()


def test_paths_in_comments_are_there() -> None:
    """`docs/...` in the sources is a path from the repository's top."""
    files = [
        path for folder in ("edge_lorahub", "export", "bench", "tests", "docs") for path in (TOP / folder).rglob("*.py")
    ]
    for path in files:
        for name in re.findall(r"docs/[\w./-]+\.(?:md|svg|py|json)", path.read_text(encoding="utf-8")):
            assert (TOP / name).exists(), f"{path}: {name}"


def test_the_command_line_is_described_as_it_is() -> None:
    page = DOCS / "reference" / "cli.md"
    assert page.read_text(encoding="utf-8") == script("cli_reference").reference(), (
        "python docs/scripts/cli_reference.py"
    )


@pytest.mark.parametrize("page", sorted((DOCS / "measurements").glob("*.md")), ids=names)
def test_tables_are_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == script("measured_tables").filled(text), "python docs/scripts/measured_tables.py"


def options() -> set[str]:
    def of(command: click.Command, context: click.Context) -> Iterator[str]:
        for param in command.params:
            yield from (*param.opts, *param.secondary_opts)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found
                yield from of(found, click.Context(found, parent=context, info_name=name))

    return {*of(cli, click.Context(cli)), "--help", "--version"}


# Options of other programs that the pages name.
OTHERS = {
    "--require-hashes", "--no-deps", "--steps-scale",  # pip's; the recipe's of the embedded hub
    "--generate", "--head", "--port", "--include-dashboard", "--num-cpus", "--memory",  # Ray's
}  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=names)
def test_options_that_are_named_exist(page: Path) -> None:
    spans = [*_CODE.findall(prose(page)), *("\n".join(block.lines) for block in blocks.blocks(page))]
    named = {option for span in spans for option in _OPTION.findall(span)}
    assert named - options() - OTHERS == set()


def test_every_public_name_and_setting_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    for name in {*edge_lorahub.__all__} - {"__version__"}:
        assert f"`{name}`" in text or f"`{name}(" in text, name
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
        assert f"| `{field.name}` | `{default}` |" in text, field.name
    for name in inspect.signature(edge_lorahub.adapt).parameters:
        assert f"`{name}`" in text or name in ("bundle", "modules", "examples", "changes"), name


def test_environment_variables_are_in_the_reference() -> None:
    text = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    used = {
        name
        for folder in ("edge_lorahub", "export", "bench", "tests")
        for path in (TOP / folder).rglob("*.py")
        for name in re.findall(r"[\"'](EDGE_LORAHUB_[A-Z_]+)[\"']", path.read_text(encoding="utf-8"))
    }
    assert {name for name in used if f"`{name}`" not in text} == set()


def test_extras_that_are_named_exist() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    extras = set(config["options.extras_require"])
    files = [*PAGES, *(path for folder in ("edge_lorahub", "export", "bench") for path in (TOP / folder).rglob("*.py"))]
    for path in files:
        for named in re.findall(r"edge-lorahub\[([\w,-]+)\]", path.read_text(encoding="utf-8")):
            assert set(named.split(",")) <= extras, f"{path}: {named}"


def test_the_citation_has_the_version() -> None:
    assert f"\nversion: {__version__}\n" in (TOP / "CITATION.cff").read_text(encoding="utf-8")


def test_figures_of_the_readme_are_those_of_the_measurements() -> None:
    """The README repeats a few; each stands so in the page that it comes from."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Speed and memory") : text.index("## Honest limits")]
    rows = [line for line in section.splitlines() if line.startswith("|") and "---" not in line]
    cells = {cell.strip() for row in rows for cell in row.split("|")[2:]}  # the first is empty, the second says of what
    figures = {cell for cell in cells if re.fullmatch(r"\d+\.?\d*", cell)} - {"100"}  # a budget, in a heading
    assert len(figures) > 20
    measured = " ".join(page.read_text(encoding="utf-8") for page in (DOCS / "measurements").glob("*.md"))
    assert {figure for figure in figures if f"| {figure} |" not in measured} == set()


def masked(text: str) -> list[str]:
    """Lines without what differs from machine to machine: numbers, digests, and the space and lines of tables."""
    text = re.sub(r"\b[0-9a-f]{64}\b|[+-]?\d[\d.,]*(e-?\d+)?", "#", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def check(page: Path, folder: Path, cache: Path) -> None:
    """Runs a page's blocks; what they print is what the page shows, where nothing says that it varies."""
    ran = 0
    for block, command, done in blocks.run(page, folder, cache):
        where = f"{page.name}:{block.start}: {command.text}"
        assert done.returncode == 0, f"{where}\n{done.stdout}"
        ran += 1
        if command.shown and not block.mark:
            pattern = "\n".join(".*" if line == "..." else re.escape(line) for line in masked(command.shown))
            assert re.fullmatch(pattern, "\n".join(masked(done.stdout)), re.DOTALL), f"{where}\n{done.stdout}"
    assert ran or page.name in ("train-modules.md", "use-a-cluster.md")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder that the tutorial leaves."""
    folder = tmp_path_factory.mktemp("tutorial")
    check(DOCS / "tutorial.md", folder, cache)
    return folder


def test_the_tutorial_runs(tutorial: Path) -> None:
    assert (tutorial / "from-python" / "edge_lorahub.json").is_file()


@pytest.mark.parametrize("page", HOW_TOS, ids=names)
def test_the_how_tos_run_in_the_tutorials_folder(page: Path, tutorial: Path, cache: Path, tmp_path: Path) -> None:
    check(page, shutil.copytree(tutorial, tmp_path / "tutorial", symlinks=True), cache)


def test_the_readme_runs_on_stand_ins(tmp_path: Path, cache: Path) -> None:
    """The models and modules that it names are the embedded hub's, under their names."""
    for name, kind in (("google/flan-t5-large", "base"), ("lorahub/flan_t5_large-task-a", "modules/clean/do-last"),
                       ("my-lora", "modules/clean/lay-json"), ("more-loras/1", "modules/clean/do-first"),
                       ("more-loras/2", "modules/clean/spell-upper")):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(DATA / kind)
    pairs = examples(DEV_TASKS[0].task, 20, seed=1)
    lines = [json.dumps({"input": text, "output": answer}) + "\n" for text, answer in pairs]
    (tmp_path / "examples.jsonl").write_text("".join(lines[:10]))
    (tmp_path / "held-out.jsonl").write_text("".join(lines[10:]))
    check(TOP / "README.md", tmp_path, cache)


def test_blocks_that_are_not_run_say_why() -> None:
    for page in [TOP / "README.md", DOCS / "tutorial.md", *HOW_TOS]:
        for block in blocks.blocks(page):
            assert block.language in ("console", "sh", "python", "json"), f"{page.name}:{block.start}"
            assert block.mark != "not run" or re.match(r"needs|installs|downloads|trains", block.reason)
