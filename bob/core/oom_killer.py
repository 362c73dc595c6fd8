"""Evidence of the kernel's out-of-memory killer, so that a death by signal 9 is called ``oom`` only with proof."""

from __future__ import annotations

from pathlib import Path

from bob.core.devices import CGROUP_ROOT, cgroups

PROC = Path("/proc")


def oom_kills(*, proc: Path = PROC, root: Path = CGROUP_ROOT) -> int | None:
    """Return how many processes the kernel has killed for memory in our control group, or else on this machine.

    None if the kernel does not say. Two calls with a difference are the evidence; the number alone means nothing.
    """
    for folder in cgroups(proc / "self" / "cgroup", root, controller="memory"):
        for name in ("memory.events", "memory.oom_control"):
            count = _counter(folder / name)
            if count is not None:
                return count
    return _counter(proc / "vmstat")


def _counter(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
