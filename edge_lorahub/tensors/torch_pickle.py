"""The pickle of a state dict, read by an interpreter of its own that can build data and nothing else.

A pickle is a program for a small stack machine, and Python's own machine is more than a state dict needs:
its opcode BUILD writes into any object, a memo index takes memory, and a key nested deep enough ends the process
when it is hashed. The machine here knows strings, numbers, tuples, lists and dicts, and five kinds of names that
torch writes, all of which stand for data; every other name and every other opcode ends the reading. Nothing is
imported and nothing of the file is called. The opcodes are parsed by the standard library's pickletools.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# storage type -> numpy dtype as it lies in the file; bfloat16 is the upper half of a float32
STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "DoubleStorage": "<f8"}
_OTHER_STORAGES = ("LongStorage", "IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage")
_REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
# A tensor's arguments hold tuples of numbers; torch nests no deeper.
# Characters: of a tensor's name, and of a storage's.
_LONGEST_KEY = 500
_DEEPEST = 4
_LONGEST_TUPLE = 32
_LARGEST_NUMBER = 1 << 48
# Opcodes of a file: a tensor takes about 40.
_MOST_STEPS = 500_000

_LITERALS = frozenset(
    ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class RefusedError(Exception):
    """The file is not a plain state dict; the message says why."""


@dataclass(frozen=True)
class Storage:
    """A storage: its type's name in torch, and the name of its file in the archive."""

    type: str
    key: str


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset, shape and stride count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """A global that torch writes, by kind: "dict", "rebuild", "parameter" or the type of a storage."""

    kind: str
    storage: str = ""


@dataclass(frozen=True)
class _Tuple:
    items: tuple[Any, ...]
    depth: int


def read_pickle(data: bytes) -> dict[str, Tensor]:
    """The state dict that a pickle describes. Raises RefusedError, or ValueError for what is no pickle."""
    machine = _Machine()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "STOP":
            break
        if number == _MOST_STEPS:
            raise RefusedError(f"its pickle has more than {_MOST_STEPS} opcodes; those of ten thousand tensors do not")
        machine.step(opcode.name, argument)
    value = machine.stack[-1] if machine.stack else None
    if not isinstance(value, dict):
        raise RefusedError(f"it holds a {type(value).__name__.lstrip('_').lower()}, not a state dict")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise RefusedError(f"entry {name!r:.80} is not a tensor")
    return value


class _Machine:
    """The stack machine of pickle (PEP 3154), cut down to data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_MARK),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_TUPLE": lambda _: self._tuple([]),
            "TUPLE": lambda _: self._tuple(self._since_mark()),
            "TUPLE1": lambda _: self._tuple(self._take(1)),
            "TUPLE2": lambda _: self._tuple(self._take(2)),
            "TUPLE3": lambda _: self._tuple(self._take(3)),
            "SETITEM": lambda _: self._set(self._take(2)),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "APPEND": lambda _: self._extend(self._take(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "GLOBAL": lambda text: self._name(*text.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._take(2)),
            "BINPERSID": lambda _: self._storage(self._pop()),
            "REDUCE": lambda _: self._reduce(*self._take(2)),
            "BUILD": lambda _: self._build(self._pop()),
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            **dict.fromkeys(("PROTO", "FRAME"), lambda _: None),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), self._get),
        }

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            # hashing a number takes as long as it is large
            if isinstance(argument, int) and abs(argument) >> 64:
                raise RefusedError("a number that is larger than any tensor's")
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in self._steps:
            self._steps[opcode](argument)
        else:
            raise RefusedError(f"it uses the pickle opcode {opcode}, which no state dict needs; do not trust this file")

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("its pickle is damaged: a value is missing")
        return self.stack.pop()

    def _take(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _since_mark(self) -> list[Any]:
        items = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise RefusedError("its pickle is damaged: a mark is missing")
        self.stack.pop()
        return items[::-1]

    def _tuple(self, items: list[Any]) -> None:
        depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
        if depth > _DEEPEST or len(items) > _LONGEST_TUPLE:
            raise RefusedError("a tuple that is nested deeper, or longer, than those of a tensor")
        self.stack.append(_Tuple(tuple(items), depth))

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(items) % 2:
            raise RefusedError("its pickle is damaged: items without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise RefusedError(f"a key that is a {type(key).__name__.lstrip('_').lower()}, not a text")
            if isinstance(key, str) and len(key) > _LONGEST_KEY:
                raise RefusedError(f"a key of {len(key)} characters, which no tensor is called")
            target[key] = value

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, list):
            raise RefusedError("its pickle is damaged: items without a list")
        target.extend(items)

    def _name(self, module: Any, name: Any) -> None:
        if (module, name) == ("collections", "OrderedDict"):
            self.stack.append(_Name("dict"))
        elif module == "torch._utils" and name in _REBUILDERS:
            self.stack.append(_Name("parameter" if name == "_rebuild_parameter" else "rebuild"))
        elif module in ("torch", "torch.storage") and (name in STORAGES or name in _OTHER_STORAGES):
            self.stack.append(_Name("storage", name))
        else:
            raise RefusedError(
                f"it asks for {module!s:.80}.{name!s:.80}, which no state dict needs; do not trust this file"
            )

    def _storage(self, pid: Any) -> None:
        """A persistent id: ("storage", type, key, location, elements)."""
        match pid.items if isinstance(pid, _Tuple) else ():
            case ("storage", _Name("storage", kind), str(key), *_) if len(key) <= _LONGEST_KEY:
                self.stack.append(Storage(kind, key))
            case _:
                raise RefusedError("a storage in an unknown form")

    def _reduce(self, function: Any, arguments: Any) -> None:
        given = arguments.items if isinstance(arguments, _Tuple) else None
        match function, given:
            case _Name("dict"), ():
                self.stack.append({})
            case _Name("parameter"), (Tensor() as tensor, *_):
                self.stack.append(tensor)
            case _Name("rebuild"), (Storage() as storage, offset, _Tuple(shape, _), _Tuple(stride, _), *_):
                numbers = (offset, *shape, *stride)
                if len(shape) != len(stride) or not all(type(n) is int and 0 <= n < _LARGEST_NUMBER for n in numbers):
                    raise RefusedError("a tensor with an impossible shape")
                self.stack.append(Tensor(storage, offset, shape, stride))
            case _Name("rebuild"), (first, *_) if not isinstance(first, Storage):
                raise RefusedError("a tensor without a storage")
            case _:
                raise RefusedError("a call that no state dict needs; do not trust this file")

    def _build(self, _: Any) -> None:
        """torch gives its OrderedDict an attribute, `_metadata`, which is not needed here."""
        if not self.stack or not isinstance(self.stack[-1], dict):
            raise RefusedError("it writes into an object, which no state dict needs; do not trust this file")

    def _put(self, index: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("its pickle is damaged: a value is missing")
        self._memo[index] = self.stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedError("its pickle is damaged: a value is missing")
        self.stack.append(self._memo[index])
