"""Signals end the program quietly, with their exit code, whenever they come, and leave no half-written output."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from edge_lorahub.cli import main, start

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
# Starts the command line, and sends a signal when a module begins to be imported: as nobody's timing can.
IMPORTING = """
import os, sys
number, name = int(sys.argv[1]), sys.argv[2]
class Finder:
    @staticmethod
    def find_spec(found, *_):
        if found == name:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder)
sys.argv = ["edge-lorahub", *sys.argv[3:]]
from edge_lorahub.cli.start import main
main()
"""
# The same, with the signal in a callback that cannot pass an exception on.
LOST = """
import os, sys, weakref
class Thing: pass
def lose(_): os.kill(os.getpid(), int(sys.argv[1]))
from edge_lorahub.cli import start
start._listen()
try:
    thing = Thing()
    reference = weakref.ref(thing, lose)
    del thing
    import time
    time.sleep(5)
finally:
    start._stop_listening()
"""


@pytest.fixture(autouse=True)
def _signals_are_not_ignored() -> Iterator[None]:
    """As they are where the tests run in the background, and then in all that they start."""
    before = {number: signal.getsignal(number) for number in CODES}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("module", ["click", "edge_lorahub.errors", "edge_lorahub.cli.inspect", "numpy", "dataclasses"])
def test_a_signal_while_libraries_are_imported(bundle: Path, number: signal.Signals, module: str) -> None:
    command = [sys.executable, "-c", IMPORTING, str(int(number)), module, "inspect", str(bundle)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (CODES[number], "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_callback_is_not_lost(number: signal.Signals) -> None:
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", LOST, str(int(number))], capture_output=True, text=True, check=False)
    assert (
        ended.returncode == {signal.SIGINT: -2, signal.SIGTERM: 143}[number]
    )  # nothing turns a KeyboardInterrupt here
    assert "ignored" not in ended.stderr
    assert time.monotonic() - begun < 4


@pytest.fixture
def adapting(bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path) -> list[str]:
    """A command that takes long, and begins to print when the search does."""
    command = [
        "adapt",
        bundle,
        examples_file,
        "-m",
        module_folders[0],
        "-m",
        module_folders[1],
        "--out",
        tmp_path / "o",
    ]
    return [sys.executable, "-m", "edge_lorahub", *map(str, command), "--no-surrogate", "--budget", "100000"]


@pytest.mark.parametrize("number", CODES)
def test_a_signal_during_a_search(adapting: list[str], number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(adapting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("budget")
        process.send_signal(number)
        out, errors = process.communicate()
    assert process.returncode == CODES[number]
    assert out == ""
    assert not [line for line in errors.splitlines() if "candidate" not in line]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples.jsonl"]


def on_a_terminal(command: list[str], act: Callable[[int], None]) -> tuple[int, bytes]:
    """Runs a command on a terminal of its own, and acts on it when the search begins. The exit code and the rest."""
    child, terminal = pty.fork()
    if not child:
        os.execv(command[0], command)
    shown = b""
    while b"budget" not in shown:
        shown += os.read(terminal, 4096)
    act(terminal)
    rest = b""
    try:
        while more := os.read(terminal, 4096):
            rest += more
    except OSError:  # its other end is closed, or it is itself
        pass
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), rest


def test_control_c_gives_the_terminal_back(adapting: list[str]) -> None:
    code, rest = on_a_terminal(adapting, lambda terminal: os.write(terminal, b"\x03") and None)
    assert code == 130
    assert rest.endswith(b"\r\n")
    assert b"Traceback" not in rest
    assert rest.rfind(b"\x1b[?25h") >= rest.rfind(b"\x1b[?25l")  # the cursor is there


def test_a_terminal_that_is_closed(adapting: list[str], tmp_path: Path) -> None:
    """The system sends SIGHUP, and what is printed fails."""
    assert on_a_terminal(adapting, os.close)[0] == 129
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples.jsonl"]


@pytest.mark.parametrize("number", CODES)
def test_signals_that_are_ignored_stay_so(number: signal.Signals, bundle: Path) -> None:
    """As under nohup."""
    code = f"import signal, runpy, sys; signal.signal({int(number)}, signal.SIG_IGN); sys.argv[0] = 'edge-lorahub'\n"
    command = [sys.executable, "-c", code + IMPORTING, str(int(number)), "numpy", "inspect", str(bundle)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("kind")


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_within_a_command(
    run: Callable[..., Result], bundle: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("edge_lorahub.runtime.session.Model", interrupted)
    result = run("generate", bundle, "w3")
    assert (result.exit_code, result.output) == (130, "")


def test_older_installations_find_their_entry() -> None:
    assert main.main is start.main


def test_the_next_command_tidies_up_beside_the_paths_that_it_is_given(
    adapting: list[str], bundle: Path, tmp_path: Path
) -> None:
    left = tmp_path / ".edge-lorahub-new-0123456789ab"
    left.mkdir()
    command = [sys.executable, "-m", "edge_lorahub", "inspect"]
    subprocess.run([*command, str(bundle)], check=True, capture_output=True)
    assert left.exists()
    subprocess.run([*command, str(tmp_path / "nothing")], check=False, capture_output=True)
    assert not left.exists()
