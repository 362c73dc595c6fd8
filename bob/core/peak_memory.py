"""Peak memory of a piece of work on a device, and how a lack of memory is told. Imports torch on demand only."""

from __future__ import annotations

import ctypes
import errno
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bob.core.errors import BobError

MB = 1e6
CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
# What torch says, of an allocator (CPU: Linux, Windows; CUDA and its libraries), of C++, of the kernel.
SHORTAGE_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "bad allocation",
    "Cannot allocate memory",
)
# oneDNN keeps its status to itself. These, and nothing after them, are what it says when a buffer or the memory for its
# code cannot be had; of a shape that it cannot work on it says "could not create a primitive descriptor for ...".
ONEDNN_SHORTAGE_TEXTS = (
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory object",
)
RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error is a lack of memory, by its type and its text."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error) if isinstance(error, RuntimeError) else ""
    return text.strip() in ONEDNN_SHORTAGE_TEXTS or any(part in text for part in SHORTAGE_TEXTS)


class NoCounterError(BobError):
    """The system does not tell how much memory a process used at its peak."""


def peak_rise_mb(work: Callable[[], Any], device: str) -> float:
    """Run work and return by how much memory rose at its peak above what was in use before, in MB (1e6 bytes).

    On a GPU: torch's allocated bytes. On a CPU: the peak resident set of this process (``VmHWM``), reset through
    ``/proc/self/clear_refs`` after free memory was given back to the system, so that memory kept by the allocator
    from earlier work does not hide the rise. Whatever other threads of the process allocate meanwhile counts too.

    Raises:
        NoCounterError: The system has no such counters (it is not Linux, or the container hides them).
    """
    gc.collect()
    if device.startswith("cuda"):
        return _cuda_rise_mb(work, device)
    _give_back_free_memory()
    if not reset_peak():
        raise NoCounterError(f"peak memory cannot be measured here: {CLEAR_REFS} cannot be written.")
    before = status_kb("VmRSS")
    work()
    return max(0.0, (status_kb("VmHWM") - before) * 1024 / MB)


def reset_peak() -> bool:
    """Set this process's peak resident set to what is in use now; return whether the system allows that."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _cuda_rise_mb(work: Callable[[], Any], device: str) -> float:
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / MB


def status_kb(name: str) -> int:
    """Return a field of ``/proc/self/status`` that is given in kB.

    Raises:
        NoCounterError: There is no such field.
    """
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    if found is None:
        raise NoCounterError(f"peak memory cannot be measured here: {STATUS} has no {name}.")
    return int(found[1])


def _give_back_free_memory() -> None:
    """Return glibc's free memory to the system; another C library keeps its own and the rise reads a little low."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
