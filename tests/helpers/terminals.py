"""A terminal of this process, which tells each piece that was shown; one of the system joins those of a busy moment."""

from __future__ import annotations

import io

import pytest

from edge_lorahub.cli.main import cli


class Terminal(io.StringIO):
    """Standard output that says that it is a terminal. `pieces` is what each flush showed."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        piece = self.getvalue().removeprefix("".join(self.pieces))
        if piece:
            self.pieces.append(piece)


def shown(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[str]:
    """The pieces in which a command that succeeds shows its output."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", terminal)
        cli.main([str(argument) for argument in arguments], standalone_mode=False)
    return terminal.pieces
