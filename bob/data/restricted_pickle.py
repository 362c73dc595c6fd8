"""Reading a pickle that holds data alone. A pickle is a program: nothing that one names is imported or called here."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bob.core.errors import DataError

MAX_BYTES = 64 << 20
DTYPE = re.compile(r"[biufU]\d{1,4}|O8")  # truth values, integers, floats, text; lists of what the pickle itself holds
ORDERS = "<>|="
# What damaged or hostile bytes raise in the unpickler and in the stand-ins below.
BROKEN_PICKLE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
)


class PickledArray:
    """A numpy array as a pickle states it, decoded here: numpy's own restoring code never meets a foreign file.

    Attributes:
        values: The array, read-only.
    """

    def __init__(self) -> None:
        self.values: np.ndarray = np.empty(0, dtype=np.int64)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.values = _decoded(dtype, content, shape, "F" if fortran else "C")


class _Dtype:
    def __init__(self, code: str) -> None:
        if not DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in tuple(ORDERS):
            raise pickle.UnpicklingError(f"an array of byte order {state[1]!r}")
        self.order = state[1]


class _Global:
    """What stands for a name in the pickle, made anew each time: what a pickle does to it lasts no longer than it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


def _decoded(dtype: Any, content: Any, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a type")
    if dtype.code == "O8":
        return _listed(content, shape, order)
    kind = np.dtype(dtype.order + dtype.code)
    # A pickle of Python 2 keeps bytes as text.
    raw = content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))
    if len(raw) != math.prod(shape) * kind.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape!r} and type {kind} with {len(raw)} bytes")
    values = np.frombuffer(raw, kind) if raw else np.empty(0, kind)
    return values.reshape(shape, order=order)


def _listed(content: Any, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if not isinstance(content, list) or len(content) != math.prod(shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r} without its {math.prod(shape)} objects")
    values = np.empty(len(content), dtype=object)
    for place, one in enumerate(content):
        values[place] = one
    return values.reshape(shape, order=order)


def _from_buffer(content: Any, dtype: Any, shape: tuple[int, ...], order: str, *axes: Any) -> PickledArray:
    if order not in ("C", "F") or any(axis is not None for axis in axes):
        raise pickle.UnpicklingError(f"an array of memory order {order!r}")
    array = PickledArray()
    array.values = _decoded(dtype, content, shape, order)
    return array


def _scalar(dtype: Any, content: Any) -> Any:
    return _decoded(dtype, content, (), "C").item()


def _encoded(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {codec!r}")
    return text.encode("latin1")


def _no_instance(*_: Any) -> Any:
    raise pickle.UnpicklingError("an array that its type makes")


ALLOWED: dict[str, Callable[..., Any]] = {
    **{f"{module}.{kind.__name__}": kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{f"{module}.bytes": lambda: b"" for module in ("builtins", "__builtin__")},  # protocol 2 writes b"" so
    **{f"{package}.multiarray._reconstruct": lambda *_: PickledArray() for package in ("numpy.core", "numpy._core")},
    **{f"{package}.multiarray.scalar": _scalar for package in ("numpy.core", "numpy._core")},
    **{f"{package}.numeric._frombuffer": _from_buffer for package in ("numpy.core", "numpy._core")},
    "collections.OrderedDict": OrderedDict,
    "numpy.ndarray": _no_instance,
    "numpy.dtype": lambda code, *_: _Dtype(code),
    "_codecs.encode": _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return a stand-in for one of the few names that data need."""
        name = f"{module_name}.{global_name}"
        if name not in ALLOWED:
            raise pickle.UnpicklingError(f"{name!r}, which is no plain data")
        return _Global(ALLOWED[name])


def _refuse_greedy(content: bytes) -> None:
    """Refuse what would ask the unpickler for gigabytes: more bytes than there are, or a far place in its memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and not (isinstance(argument, int) and 0 <= argument <= len(content)):
            raise pickle.UnpicklingError(f"the memory place {argument} in {len(content)} bytes")


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds: plain containers, numbers, text and, for each numpy array, a ``PickledArray``.

    Raises:
        DataError: It names anything else (code, say), is damaged, or is larger than 64 MiB.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path} holds {size} bytes; at most {MAX_BYTES} are read.", hint="Is it the right file?")
    try:
        content = path.read_bytes()
        _refuse_greedy(content)
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except BROKEN_PICKLE as error:
        raise DataError(
            f"{path} is no pickle of plain data: it is damaged or holds {error}.",
            hint="Fetch the file anew from its authors; a pickle from elsewhere can run code, so nothing else is read.",
        ) from error
