"""Pickled lists and mappings of numbers and texts, read without ever calling anything.

RefCOCO's ``refs(unc).p`` is a pickle, and a pickle can run code: its instructions may look up any
function and call it. This reader is a machine of its own that knows only the instructions which
make plain values, on the instruction list of the standard library's ``pickletools``; the first
instruction that would look up, build or call something ends it with an error. It never resolves
a name, so there is nothing to restrict.

Texts that Python 2 wrote as bytes are read as UTF-8, else as Latin-1.

Not covered: sets, bytes, out-of-band buffers, texts beyond ASCII in protocol 0.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...twin.errors import InputError

__all__ = ["MAX_BYTES", "loads", "read_plain_pickle"]

MAX_BYTES = 2**30
_MARK = object()
_VALUES = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    ]
)
_OLD_TEXTS = frozenset(["STRING", "BINSTRING", "SHORT_BINSTRING"])
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(["PROTO", "FRAME", "STOP"])


def read_plain_pickle(path: Path, hint: str = "") -> Any:
    """The value of a file of pickled plain values.

    Raises:
        InputError: as :func:`loads`, and if the file is missing (``hint`` says where to get it) or
            larger than 1 GB.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"expected {path} of at most {MAX_BYTES} bytes, got more")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"expected the file {path}, got: {error.strerror}; {hint}") from error
    return loads(data, str(path))


def loads(data: bytes, where: str = "the pickle") -> Any:
    """The value of pickled bytes: lists, mappings, tuples, numbers, texts, true, false, None.

    Raises:
        InputError: for an instruction that makes anything else, and for bytes that are no pickle.
    """
    machine = _Machine(where)
    try:
        for opcode, argument, place in pickletools.genops(data):
            machine.step(opcode.name, argument, place or 0)
        (found,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"expected pickled plain values in {where}, got damaged bytes ({str(error)[:100]}); "
            "download the file again"
        ) from error
    if found is _MARK:
        raise InputError(f"expected pickled plain values in {where}, got damaged bytes")
    return found


class _Machine:
    """The stack and the memo of a pickle's instructions."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any, place: int) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _OLD_TEXTS:
            stack.append(_text(argument))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name not in _NOTHING and not self._gather(name):
            raise InputError(
                f"{self.where}: expected plain lists, mappings, numbers and texts, got the "
                f"instruction {name} ({str(argument)[:60]!r}) at byte {place}, which could run "
                "code: do not open this file elsewhere; get it from the data set's authors"
            )

    def _gather(self, name: str) -> bool:
        """An instruction that puts values into a container; False if it is another one."""
        stack = self.stack
        if name in _TUPLES:
            count = _TUPLES[name]
            items = [stack.pop() for _ in range(count)]
            stack.append(tuple(items[::-1]))
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "LIST":
            stack.append(self._since_mark())
        elif name == "DICT":
            stack.append(_pairs(self._since_mark()))
        elif name == "APPEND":
            item = stack.pop()
            self._top(list).append(item)
        elif name == "APPENDS":
            items = self._since_mark()
            self._top(list).extend(items)
        elif name == "SETITEM":
            pair = [stack[-2], stack[-1]]
            del stack[-2:]
            self._top(dict).update(_pairs(pair))
        elif name == "SETITEMS":
            items = self._since_mark()
            self._top(dict).update(_pairs(items))
        else:
            return False
        return True

    def _since_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        items: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"a {kind.__name__} was expected")
        return self.stack[-1]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


def _text(argument: Any) -> str:
    """A text of Python 2, which ``pickletools`` reads as Latin-1."""
    try:
        return str(argument).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return str(argument)
