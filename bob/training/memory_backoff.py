"""Running out of memory, recognised; and how much was used at the most."""

from __future__ import annotations

import resource

import torch

from bob.core.peak_memory import is_shortage, reset_peak, status_kb


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether ``error`` is a lack of memory, on the CPU or on an accelerator."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or is_shortage(error)


def shortage_text(error: BaseException) -> str:
    """Return the first line of what a lack of memory says, or its type's name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class PeakMemory:
    """The highest memory use since construction: tensors on a CUDA device, else this process's resident set.

    On a CPU the kernel's high-water mark is reset where it allows that (Linux); elsewhere it is the process's own peak.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.init()  # a device that nothing has used yet has no statistics to reset
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._can_reset = reset_peak()

    def mb(self) -> float:
        """Return the peak so far in MB (10^6 bytes)."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6
        return (status_kb("VmHWM") if self._can_reset else _rusage_kib()) * 1024 / 1e6


def _rusage_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
