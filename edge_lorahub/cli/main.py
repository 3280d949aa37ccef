"""`edge-lorahub`: finds a command's file when the command is used, and turns errors into one line."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from .._version import __version__
from ..errors import EdgeLorahubError, EdgeLorahubWarning
from ..files.work_folder import tidy
from ..machine.shortage import ADVICE, is_shortage, shortage
from .printable import one_line, say
from .start import ended_by
from .start import main as main  # the entry of older installations

# command -> (module, first line of its help): `--help` lists them without importing what they need
COMMANDS = {
    "demo": ("demo", "See LoraHub learning work on the embedded hub: a tiny T5 and 44 LoRA modules."),
    "export": ("export", "Turn a checkpoint into a bundle: T5, Llama, Mistral, Qwen, Gemma, Granite."),
    "adapt": ("adapt", "Learn a task: find weights for LoRA modules from a few examples."),
    "generate": ("generate", "Answer texts with a bundle, and an adapter if there is one."),
    "evaluate": ("evaluate", "Measure exact match on a file of examples."),
    "compare": ("compare", "Compare what composing gains with prompting, single modules and chance."),
    "serve": ("serve", "Serve a bundle over HTTP: adapt and answer, from a page or as OpenAI's clients do."),
    "inspect": ("inspect", "Say what a bundle, module, adapter or checkpoint is."),
    "report": ("report_command", "Write a page that shows what was learned, or compared."),
    "hub": ("hub_commands", "Keep modules under names, share them, and find them again."),
    "convert": ("convert", "Turn an adapter into what other programs take: peft, ONNX Runtime, llama.cpp."),
    "bake": ("bake", "Merge an adapter into a copy of a bundle's weights."),
    "bench": ("bench", "Measure speed and memory, or how well tasks are learned."),
}
_EXIT_USAGE = 2
_EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h


class CliError(click.ClickException):
    """A one-line error with exit code 2."""

    exit_code = _EXIT_USAGE

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class DefectError(CliError):
    """A one-line error for what should never happen."""

    exit_code = _EXIT_DEFECT


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__package__}.{COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return self._invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            raise SystemExit(128 + signal.SIGINT) from None
        except Exception:
            if ended_by:  # of the signal, whatever a library or a terminal that is gone has made of it
                raise SystemExit(128 + ended_by[0]) from None
            raise

    def _invoke(self, ctx: click.Context) -> Any:
        """As a group does it, with one line for every error."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                raise  # a group without a command: click shows its help
            path = error.ctx.command_path if error.ctx else "edge-lorahub"
            raise CliError(f"{_sentence(error.format_message())} See `{path} --help`.") from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except EdgeLorahubError as error:
            raise CliError(str(error)) from error
        except OSError as error:
            name = error.filename2 or error.filename
            where = f"{name}: " if name else ""
            raise CliError(f"{where}{error.strerror or error}") from error
        except Exception as error:
            if is_shortage(error):
                raise CliError(str(shortage(str(ctx.invoked_subcommand), ADVICE, error=error))) from error
            if ended_by or "EDGE_LORAHUB_TRACEBACK" in os.environ:
                raise
            raise DefectError(
                f"a defect in edge-lorahub: {type(error).__name__}: {error} "
                "(please report it, with what EDGE_LORAHUB_TRACEBACK=1 prints)"
            ) from error


def _sentence(message: str) -> str:
    """With a full stop, so that another sentence can follow."""
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, EdgeLorahubWarning):
        say(f"Warning: {one_line(str(message))}", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edge-lorahub")
def cli() -> None:
    """LoraHub learning on a CPU: compose LoRA modules for T5 and small decoders from a few examples."""
    # other libraries' warnings are for developers; ours say what the user can mend
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", EdgeLorahubWarning)


def run() -> None:
    """The command line, with the program's own arguments."""
    # a terminal or pipe of another encoding shows a replacement character instead of ending the program
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if sys.stdout is None:
        _end_with("standard output is closed; give it a place, /dev/null for example")
    _tidy(sys.argv[1:])
    try:
        cli()
    except OSError as error:
        # of printing; a command's own are handled there
        _end_with(f"{error.strerror or error}")
    except SystemExit as end:
        _flush(said=end.code not in (0, None))
        raise


def _flush(*, said: bool) -> None:
    """Writes what is left of the output; what is wrong with that is one line, unless another was said already."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if said or isinstance(error, BrokenPipeError):
            _forget_output()
        else:
            _end_with(f"standard output: {error.strerror or error}")


def _end_with(message: str) -> NoReturn:
    """One line of error, where it can still be written, and the end."""
    with suppress(OSError, AttributeError):
        print(f"Error: {message}", file=sys.stderr, flush=True)
    _forget_output()
    sys.exit(_EXIT_USAGE)


def _forget_output() -> None:
    """Python would try once more to write what it could not, at the end, and complain."""
    with suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tidy(arguments: Sequence[str]) -> None:
    """Finishes or removes what runs that died left in the folders of the paths that are named."""
    paths = [path for argument in arguments for path in (argument, argument.partition("=")[2]) if path]
    with suppress(OSError):  # a current folder that was deleted
        for folder in {os.path.dirname(os.path.abspath(path)) for path in paths}:
            tidy(Path(folder))
