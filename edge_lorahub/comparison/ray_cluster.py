"""Ray: imported quietly, connected to, and asked how much of a cluster is there."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ClusterError, MissingDependencyError, SettingsError

# Ray reports its use to its maker, and prints what its processes say to standard output, where our results are. Under
# `uv run` it would send the current folder to every node.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
ADDRESS, _AUTHENTICATION = "RAY_ADDRESS", "RAY_AUTH_MODE"


def import_ray() -> Any:
    """The package ray. Raises MissingDependencyError where it is not installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "the engine ray takes the package ray: pip install 'edge-lorahub[ray]' (it is made for Python 3.10 to 3.14 "
            "on Linux with glibc, on macOS on ARM64, and on Windows)"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def check_address(address: str | None) -> None:
    """Raises SettingsError for an address that cells are not sent through."""
    named = address or os.environ.get(ADDRESS) or ""
    if "://" in named:
        raise SettingsError(
            f"address {named!r:.80}: a client outside of the cluster is not supported; begin the comparison on one of "
            "its machines, with HOST:PORT or auto"
        )


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The package ray, connected to a cluster; a connection that is there already is used, and stays.

    address: HOST:PORT, "auto" for the cluster that this machine belongs to, "local" for a new one of this machine
    alone; None: as RAY_ADDRESS says, else one that runs here, else a new one. Raises ClusterError.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    check_address(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = address or os.environ.get(ADDRESS) or "on this machine"
        raise ClusterError(
            f"no Ray cluster {where!r:.80} could be reached or started: {_first_line(error)}; `ray status` on its "
            f"first machine tells what runs there{_about_tokens()}"
        ) from error
    finally:
        # Ray's own would take ours away, and with it the exit code
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _about_tokens() -> str:
    """Ray answers a command without the cluster's token as if there were no cluster."""
    if os.environ.get(_AUTHENTICATION):
        return ""
    return f"; where a token is asked for, as after `ray get-auth-token --generate`, set {_AUTHENTICATION}=token"


def places(ray: Any, processors: int, memory: int) -> int:
    """How many processes of so many processors and bytes the nodes that are there have room for."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(one.get("CPU", 0) // processors, one.get("memory", 0) // memory)) for one in alive)


def largest_node(ray: Any) -> str:
    """For messages: what nodes have."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not alive:
        return "no node is left"
    processors, memory = (max(one.get(name, 0) for one in alive) for name in ("CPU", "memory"))
    return f"nodes have at most {processors:.0f} processors and {memory / 1e6:.0f} MB"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
