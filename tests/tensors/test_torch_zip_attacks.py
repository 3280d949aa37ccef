"""A pickle is a program: nothing that adapter_model.bin says is run, and none of it harms the reader."""

from __future__ import annotations

import copyreg
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch_files import (
    NONE,
    archive,
    call,
    mapping,
    name,
    number,
    numbers,
    program,
    sequence,
    stack_name,
    storage,
    tensor,
    text,
)

from edge_lorahub.errors import ModuleFileError
from edge_lorahub.tensors.torch_zip import read_state_dict

A = np.arange(12, dtype=np.float32).reshape(3, 4)
FLOATS = {"0": A.tobytes()}
PLAIN = tensor(storage("FloatStorage", "0", 12), (3, 4))


def _getattr_chain(marker: str) -> bytes:
    module = call(name("builtins", "__import__"), text("os"))
    return call(call(name("builtins", "getattr"), module, text("mkdir")), text(marker))


def _python(marker: str) -> str:
    return f"__import__('os').mkdir({marker!r})"


# Each makes the folder `marker` when an ordinary unpickler runs it.
ATTACKS: dict[str, Callable[[str], bytes]] = {
    "os.mkdir": lambda m: program(call(name("os", "mkdir"), text(m))),
    "os.system": lambda m: program(call(name("os", "system"), text(f"mkdir {m}"))),
    "posix.system": lambda m: program(call(name("posix", "system"), text(f"mkdir {m}"))),
    "eval": lambda m: program(call(name("builtins", "eval"), text(_python(m)))),
    "python 2's name of eval": lambda m: program(call(name("__builtin__", "eval"), text(_python(m)))),
    "exec": lambda m: program(call(name("builtins", "exec"), text(_python(m)))),
    "getattr chain": lambda m: program(_getattr_chain(m)),
    "in a tensor's place": lambda m: program(mapping({"x": call(name("os", "mkdir"), text(m))})),
    "in a tensor's shape": lambda m: program(
        mapping({"x": call(name("collections", "OrderedDict"), sequence(call(name("os", "mkdir"), text(m))))})
    ),
    "before a sound state dict": lambda m: program(call(name("os", "mkdir"), text(m)) + b"0" + mapping({})),
    "STACK_GLOBAL, protocol 4": lambda m: program(call(stack_name("os", "mkdir"), text(m)), protocol=4),
    "STACK_GLOBAL, protocol 5": lambda m: program(call(stack_name("os", "mkdir"), text(m)), protocol=5),
    "dotted name, protocol 4": lambda m: program(call(stack_name("shutil", "os.mkdir"), text(m)), protocol=4),
    "INST": lambda m: program(b"(" + text(m) + b"ios\nmkdir\n"),
    "OBJ": lambda m: program(b"(" + name("os", "mkdir") + text(m) + b"o"),
    "functools.partial": lambda m: program(
        call(call(name("functools", "partial"), name("os", "mkdir"), text(m)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_pickle_is_run(tmp_path: Path, attack: str) -> None:
    marker = tmp_path / "marker"
    pickled = ATTACKS[attack](str(marker))
    with pytest.raises(
        ModuleFileError, match=r"refused: it (asks for|uses the pickle opcode) \S+, which no state dict needs"
    ):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))
    assert not marker.exists()


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a not in ("in a tensor's shape",)])
def test_the_attacks_are_attacks(tmp_path: Path, attack: str) -> None:
    if "posix" in attack and os.name != "posix":
        pytest.skip("posix only")
    marker = tmp_path / "marker"
    pickle.loads(ATTACKS[attack](str(marker)))
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("torch.hub", "load"),
        ("torch", "nn.Module"),
        ("torch", "FloatStorage.from_file"),
        ("torch", "FloatStorage.__init__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch._utils", "_rebuild_xla_tensor"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch._utils", "FloatStorage"),
        ("collections", "OrderedDict.__init__"),
        ("collections", "defaultdict"),
        ("collections", ""),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "load"),
        ("operator", "attrgetter"),
        ("subprocess", "Popen"),
        ("runpy", "run_path"),
        ("edge_lorahub.tensors.torch_zip", "_Unpickler"),
        ("edge_lorahub.tensors.torch_zip", "_rebuild_tensor"),
    ],
)
@pytest.mark.parametrize("spelling", [name, stack_name])
def test_every_other_name_is_refused(
    tmp_path: Path, module: str, attribute: str, spelling: Callable[[str, str], bytes]
) -> None:
    pickled = program(mapping({"x": PLAIN}) + spelling(module, attribute) + b"0", protocol=4)
    with pytest.raises(ModuleFileError, match="do not trust this file"):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))


def test_a_registered_extension_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    copyreg.add_extension("os", "mkdir", 200)
    try:
        pickled = program(call(b"\x82\xc8", text(str(marker))))
        with pytest.raises(ModuleFileError):
            read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))
    finally:
        copyreg.remove_extension("os", "mkdir", 200)
    assert not marker.exists()


@pytest.mark.parametrize(
    "pid",
    [
        text("0"),
        sequence(),
        sequence(text("module"), name("torch", "FloatStorage"), text("0")),
        sequence(text("storage"), text("FloatStorage"), text("0")),
        sequence(text("storage"), name("torch", "FloatStorage"), number(0)),
        sequence(text("storage"), name("collections", "OrderedDict"), text("0")),
    ],
)
def test_a_persistent_id_in_another_form_is_refused(tmp_path: Path, pid: bytes) -> None:
    pickled = program(mapping({"x": tensor(pid + b"Q", (3, 4))}))
    with pytest.raises(ModuleFileError, match="a storage in an unknown form"):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))


def test_a_storage_outside_the_archive_is_not_reached(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(A.tobytes())
    where = storage("FloatStorage", f"../../../..{tmp_path}/secret", 12)
    pickled = program(mapping({"x": tensor(where, (3, 4))}))
    with pytest.raises(ModuleFileError, match="not in the archive"):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))


def attributes(**values: bytes) -> bytes:
    """A dict of attributes, for BUILD."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


@pytest.mark.parametrize(
    "changes",
    [
        attributes(offset=number(-4)),
        attributes(stride=numbers((-1, 1))),
        attributes(shape=numbers((2, 2)), stride=numbers((1, -2))),
    ],
    ids=["offset", "stride", "shape and stride"],
)
def test_build_cannot_change_a_tensor_that_was_checked(tmp_path: Path, changes: bytes) -> None:
    # the opcode BUILD writes into an object's __dict__, past a frozen dataclass and past any check when it was made
    pickled = program(mapping({"x": PLAIN + changes + b"b"}))
    with pytest.raises(ModuleFileError):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))


def test_build_cannot_change_what_a_name_stands_for(tmp_path: Path) -> None:
    # (None, {...}) makes Python's BUILD call setattr on what find_class gave
    state = sequence(NONE, attributes(__defaults__=numbers((1, 2, 3))))
    pickled = program(name("torch._utils", "_rebuild_tensor_v2") + state + b"b0" + mapping({"x": PLAIN}))
    with pytest.raises(ModuleFileError, match="writes into an object"):
        read_state_dict(archive(tmp_path / "adapter_model.bin", pickled, FLOATS))


_READ = """
import sys
from pathlib import Path
from edge_lorahub.errors import ModuleFileError
from edge_lorahub.tensors.torch_zip import read_state_dict
try:
    read_state_dict(Path(sys.argv[1]))
except ModuleFileError:
    pass
if sys.platform == "linux":
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)
else:
    print(0)
"""


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("a stride far outside", mapping({"x": PLAIN + attributes(stride=numbers((-(1 << 40), 1))) + b"b"})),
        ("a key nested half a million deep", b"}(" + b")" + b"\x85" * 500_000 + PLAIN + b"u"),
        ("a memo of 67 million", mapping({"x": PLAIN}) + b"r" + struct.pack("<I", 1 << 26)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_small_file_neither_crashes_the_process_nor_fills_the_memory(tmp_path: Path, what: str, body: bytes) -> None:
    path = archive(tmp_path / "adapter_model.bin", program(body), FLOATS)
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{what}: ended with {done.returncode}"
    assert int(done.stdout) < 500, f"{what}: took {done.stdout.strip()} MB"


def test_long_names_are_not_printed(tmp_path: Path) -> None:
    """A line of the terminal is not what a file may fill with megabytes."""
    long = "x" * 1_000_000
    for body in (
        mapping({long: PLAIN}),
        mapping({"x": tensor(storage("FloatStorage", long, 12), (3, 4))}),
        mapping({"x": tensor(storage("IntStorage", "0", 12), (3, 4)), "y" * 400: PLAIN}),
        mapping({"y" * 400: tensor(storage("FloatStorage", "z" * 400, 12), (3, 4))}),
    ):
        with pytest.raises(ModuleFileError) as error:
            read_state_dict(archive(tmp_path / "adapter_model.bin", program(body), FLOATS))
        assert len(str(error.value)) < 300
