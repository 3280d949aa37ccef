"""The wheel: what a user has who installs it, without the sources. .ci/run installs it with its dependencies too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LEAST_SETUPTOOLS = 77  # of pyproject.toml; no build fetches another one here
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "edge_lorahub", "export", "bench")

# Public functions with their types, one of each, and a mistake that mypy must find.
PROGRAM = """\
import edge_lorahub as el

model: el.Model = el.load("bundle", threads=1)
answers: list[str] = el.generate(model, ["a"], adapter=el.load_adapter("adapter"))
percent: float = el.evaluate(model, el.read_examples("file")).exact_match_percent
weights: dict[str, float] = el.adapt(model, ["module"], [el.Example("a", "b")], budget=3).weights
wrong: int = el.generate(model, ["a"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as a build leaves files beside the sources."""
    found = {dist.name: dist.version for dist in distributions() if dist.name in ("pip", "setuptools")}
    if "pip" not in found or int(found.get("setuptools", "0").partition(".")[0]) < LEAST_SETUPTOOLS:
        pytest.skip(f"a wheel is built with pip and setuptools {LEAST_SETUPTOOLS} or newer")
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(TOP / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        out,
        copy,
    ]
    subprocess.run([*map(str, command)], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_has_the_package_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "edge_lorahub/py.typed", "edge_lorahub/composition/compose_int8.onnx", "edge_lorahub/tinyhub/data/results.json",
        "edge_lorahub/tinyhub/data/base/model.safetensors", "edge_lorahub/export/__init__.py",
        "edge_lorahub/bench/__init__.py", "edge_lorahub/hub/lists/lorahub.txt", "edge_lorahub/serve/page.html",
        "edge_lorahub/serve/openapi.json",
        "edge_lorahub/report/templates/page.html", "edge_lorahub/report/templates/blocks.html",
        "edge_lorahub/report/templates/style.css",
    } <= names  # fmt: skip
    data = {path.relative_to(TOP).as_posix() for path in (TOP / "edge_lorahub" / "tinyhub" / "data").rglob("*.*")}
    assert data <= names
    assert not any(name.startswith(("export/", "bench/", "tests/")) for name in names)


def test_a_program_sees_the_types(wheel: Path, tmp_path: Path) -> None:
    """PEP 561: mypy reads the installed package and finds the one mistake."""
    pytest.importorskip("mypy")
    venv.create(tmp_path / "user")
    python = tmp_path / "user" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    zipfile.ZipFile(wheel).extractall(packages)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--python-executable", str(python), "--strict", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert errors[0].startswith("program.py:7: error: Incompatible types in assignment"), errors
