"""`edge-lorahub serve`: what is wrong is one line before anything is loaded, and Ctrl-C ends it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Fails = Callable[..., str]


def test_without_the_extra_it_names_it(fails: Fails, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "uvicorn" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    line = fails("serve", tiny_bundle)
    assert line == "Error: serve needs uvicorn; install with pip install 'edge-lorahub[serve]'"


def test_what_is_wrong_is_one_line(
    fails: Fails, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_LORAHUB_TOKEN", raising=False)
    assert "a token is needed" in fails("serve", tiny_bundle, "--host", "0.0.0.0", "--port", 0)
    assert "16 or more" in fails("serve", tiny_bundle, "--token", "short")
    monkeypatch.setenv("EDGE_LORAHUB_TOKEN", "short")
    assert "16 or more" in fails("serve", tiny_bundle)
    monkeypatch.delenv("EDGE_LORAHUB_TOKEN")
    file = tmp_path / "file"
    file.write_text("mine")
    assert f"{file}: a file, where the folder for adapters" in fails("serve", tiny_bundle, "--adapters", file)
    assert f"{file} is a file, not a folder" in fails("serve", tiny_bundle, "--adapters", file / "within")
    assert "no such bundle" in fails("serve", tmp_path / "none")
    assert "give --hub too" in fails("serve", tiny_bundle, "--tag", "a")
    assert "no module in it" in fails("serve", tiny_bundle, "--modules", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = fails("serve", tiny_bundle, "--port", port)
        assert f"127.0.0.1:{port}: " in line
        assert "choose another --port, or 0" in line
    assert "Error: no.such.host.invalid:0: " in fails(
        "serve", tiny_bundle, "--host", "no.such.host.invalid", "--port", 0, "--token", "a" * 20
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_serves_until_it_is_told_to_end(tiny_bundle: Path, tmp_path: Path, number: int, code: int) -> None:
    learned = tmp_path / "new" / "learned"
    command = [sys.executable, "-m", "edge_lorahub", "serve", str(tiny_bundle), "--port", "0", "--threads", "1"]
    command += ["--adapters", str(learned)]
    environment = {key: value for key, value in os.environ.items() if key != "EDGE_LORAHUB_TOKEN"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        bufsize=1,
        # tests that run in the background of a shell ignore it, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(
        r"serving tiny with no modules, so that nothing can be adapted: (http://127.0.0.1:\d+/)\n", line
    )
    assert found, line
    assert learned.is_dir()
    with urllib.request.urlopen(f"{found[1]}healthz", timeout=30) as response:
        assert response.read() == b'{"status":"ok"}'
    process.send_signal(number)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert (rest, errors) == ("", "")
