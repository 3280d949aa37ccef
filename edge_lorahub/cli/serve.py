"""`edge-lorahub serve`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import MissingDependencyError, SettingsError
from . import module_sources, options
from .main import COMMANDS
from .printable import count_of, say

if TYPE_CHECKING:
    from ..composition.selection import Selection
    from ..lora.modules import Modules

TOKEN = "EDGE_LORAHUB_TOKEN"


@click.command(short_help=COMMANDS["serve"][1])
@click.argument("bundle", type=options.BUNDLE)
@module_sources.named
@module_sources.of_store
@module_sources.counted
@click.option("--seed", default=1, show_default=True, help="The seed of the draw of --count.")
@click.option(
    "--adapters", "folder", type=click.Path(path_type=Path), metavar="DIR",
    help="Where adapters are saved, and read from, made where there is none; without it they stay in memory only.",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="What requests call the model.  [default: the bundle folder's name]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0: any that is free."
)
@click.option(
    "--token", metavar="TEXT",
    help="What a client must show as Bearer, 16 characters or more; needed where other machines reach the host.  "
    f"[default: {TOKEN}]",
)  # fmt: skip
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME",
    help="A name by which the service may be called, beside --host and those of loopback.",
)  # fmt: skip
@click.option("--max-body", type=options.MemorySize(), default="1MB", show_default=True, help="The largest request.")
@click.option(
    "--max-new-tokens", type=click.IntRange(2), default=512, show_default=True,
    help="The longest answer that may be asked for, in tokens.",
)  # fmt: skip
@click.option(
    "--max-adapt-seconds", type=click.FloatRange(1), default=900.0, show_default=True,
    help="How long an adaptation may take.",
)  # fmt: skip
@click.option("--answers", type=click.IntRange(1), default=2, show_default=True, help="How many are made at once.")
@click.option(
    "--adapter-memory", type=options.MemorySize(), default="1GB", show_default=True,
    help="What adapters may take of the memory; those used last stay.",
)  # fmt: skip
@options.threads
def command(
    bundle: Path, sources: tuple[str, ...], parents: tuple[Path, ...], hub: bool, store: str | None,
    tags: tuple[str, ...], count: int | None, seed: int, folder: Path | None, name: str | None, host: str, port: int,
    token: str | None, names: tuple[str, ...], max_body: int, max_new_tokens: int, max_adapt_seconds: float,
    answers: int, adapter_memory: int, threads: int | None,
) -> None:  # fmt: skip
    """Serve a bundle over HTTP: adapt and answer, from a page or as OpenAI's clients do.

    Adapts with the modules of --module, --modules or --hub. The page is at the address that is printed, and the
    interface is described at /openapi.json. Ends with Ctrl-C.
    """
    missing = [one for one in ("starlette", "uvicorn") if importlib.util.find_spec(one) is None]
    if missing:
        raise MissingDependencyError(
            f"serve needs {' and '.join(missing)}; install with pip install 'edge-lorahub[serve]'"
        )
    from ..files.user_path import user_path
    from ..runtime.opened import OpenBundle
    from ..runtime.session import Model
    from ..serve.app import application
    from ..serve.guard import Access
    from ..serve.limits import Limits
    from ..serve.server import listening, server
    from ..serve.service import Service

    module_sources.refuse_idle(hub, parents, count)
    # what can be wrong is looked at before the slow part
    access = Access(host, token or os.environ.get(TOKEN) or None, names)
    limits = Limits(
        body=max_body, new_tokens=max_new_tokens, adapt_seconds=max_adapt_seconds, answers=answers,
        adapter_bytes=adapter_memory,
    )  # fmt: skip
    if folder is not None:
        folder = user_path(folder)
        _check_folder(folder)
    opened = OpenBundle(bundle)
    choice = module_sources.Choice(hub, store, tags, count, seed, None)
    modules: Modules | None = None
    selection: Selection | None = None
    if sources or parents or hub:
        modules, selection = module_sources.modules_of(sources, parents, choice, opened.manifest)
        modules.check(opened.manifest)
    with listening(host, port) as place:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        service = Service(
            Model(opened, threads=threads), name or bundle.resolve().name, modules, folder, limits, selection
        )
        shown = f"[{host}]" if ":" in host else host
        of = "no modules, so that nothing can be adapted" if modules is None else count_of(len(modules), "module")
        say(f"serving {service.name} with {of}: http://{shown}:{place.getsockname()[1]}/")
        server(application(service, access), limits).run(sockets=[place])


def _check_folder(folder: Path) -> None:
    """Refuses what is no folder for adapters, and a place where none can be made."""
    from ..files.outputs import check_place

    if folder.is_dir():
        return
    if os.path.lexists(folder):
        what = "a file" if folder.is_file() else "a link or device"
        raise SettingsError(f"{folder}: {what}, where the folder for adapters was expected; name a folder")
    check_place(folder)
