"""What this machine may be used for: CPU cores, GPUs, and their division into slots. Imports no torch."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bob.core.errors import ConfigError

log = logging.getLogger(__name__)

DEV = Path("/dev")
CGROUP_ROOT = Path("/sys/fs/cgroup")
NVIDIA_SMI_TIMEOUT_S = 30
CROWDED_PERCENT = 25.0
JOB_GB = 3.0  # what a job of a mid-sized backbone may take
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The part of the machine that one worker uses.

    Attributes:
        index: Its number, from 0.
        device: ``cpu`` or ``cuda:0`` (the first GPU the worker sees, mostly the only one).
        gpu: What ``CUDA_VISIBLE_DEVICES`` becomes in the worker: one GPU, or with commas one for each of its job's
            processes; empty for a worker that uses no GPU.
        threads: CPU threads of the worker.
    """

    index: int
    device: str
    gpu: str
    threads: int


def cpu_count() -> int:
    """Return the cores this process may use: its affinity, and not more than its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpus(Path("/proc/self/cgroup"), CGROUP_ROOT)
    return max(1, cores if quota is None else min(cores, int(quota)))


def crowded(*, interval_s: float = 0.3) -> bool:
    """Tell whether others use more than a quarter of the cores this process may use, looking for ``interval_s``."""
    shares = psutil.cpu_percent(interval=interval_s, percpu=True)
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(shares))
    used = [share for core, share in enumerate(shares) if core in mine] or shares
    return sum(used) / len(used) > CROWDED_PERCENT


def cgroup_cpus(membership: Path, root: Path) -> float | None:
    """Return the tightest CPU quota in cores among the control groups a process is in; None if there is none.

    Args:
        membership: The process's ``/proc/PID/cgroup``.
        root: Where the control groups are mounted; versions 1 and 2 are understood.
    """
    quotas = []
    for group in cgroups(membership, root, controller="cpu"):
        if (limit := _words(group / "cpu.max")) and limit[0] != "max":
            quotas.append(int(limit[0]) / int(limit[1]))
        old, period = _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us")
        if old and period and int(old[0]) > 0:
            quotas.append(int(old[0]) / int(period[0]))
    return min(quotas, default=None)


def cgroups(membership: Path, root: Path, *, controller: str) -> list[Path]:
    """Return the folders of a process's control groups for one controller, innermost first, up to the mount."""
    folders: list[Path] = []
    for line in membership.read_text().splitlines() if membership.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controller if controllers else root
        inner = mount / path.lstrip("/")
        folders += [folder for folder in (inner, *inner.parents) if folder == mount or mount in folder.parents]
    return [folder for folder in folders if folder.is_dir()]


def gpus(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the NVIDIA GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    present = _nvidia_gpus()
    if visible is None or not present:
        return present
    named = [name.strip() for name in visible.split(",")]
    # As CUDA does it: the list ends at the first entry that is no device, such as -1.
    valid = [name for name in named if name in present or re.match(r"(GPU|MIG)-", name)]
    return tuple(valid[: next((i for i, name in enumerate(named) if name not in valid), len(valid))])


def choose_device(choice: str = "auto", *, cores: int | None = None) -> tuple[str, str]:
    """Return the kind of device jobs run on, ``cpu`` or ``cuda``, and its hardware class.

    Two hosts of one class give comparable times: the class is the GPU's name, or the processor's name and the cores
    this process may use, or ``cores`` of them.

    Raises:
        ConfigError: Another choice than ``auto``, ``cpu`` or ``cuda``, or ``cuda`` where there is no GPU.
    """
    if choice not in DEVICES:
        raise ConfigError(f"device {choice!r} is not known: expected 'auto', 'cpu' or 'cuda'.")
    found = () if choice == "cpu" else gpus()
    if found:
        return "cuda", _gpu_name(found[0])
    if choice == "cuda":
        raise ConfigError("device 'cuda': no NVIDIA GPU is visible.", hint="'bob doctor' shows what there is.")
    return "cpu", f"{processor_name()}, {cores or cpu_count()} cores"


def plan_slots(
    *,
    workers: int | None = None,
    device: str = "auto",
    cores: int | None = None,
    gpu_names: Sequence[str] | None = None,
    jobs: int | None = None,
    memory_gb: float | None = None,
    processes: int = 1,
) -> tuple[Slot, ...]:
    """Divide the machine: one worker per GPU, or one per share of the cores.

    Two jobs on a core each do half as much again as one job on two cores, so a CPU is cut into as many shares as there
    are cores, jobs, or memory for.

    Args:
        workers: How many at most; None for one per GPU, or without GPUs one per core, job and ``JOB_GB`` of memory.
        device: ``auto`` (GPUs if there are any), ``cpu`` or ``cuda``.
        cores: Cores to share; None for all this process may use.
        gpu_names: GPUs to share; None for all this process may use.
        jobs: How many jobs there are to run; None if that is not known.
        memory_gb: Memory to share, in 10^9 bytes; None for what is available.
        processes: Processes of each job on this machine: a slot has as many GPUs, or room and cores for as many.

    Raises:
        ConfigError: A number below one, another device, ``cuda`` where there is no GPU, or fewer GPUs than processes.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers: expected at least 1.")
    cores = cores or cpu_count()
    found = () if device == "cpu" else tuple(gpus() if gpu_names is None else gpu_names)
    if device not in DEVICES or (device == "cuda" and not found):
        choose_device(device)
    if found:
        starts = range(0, len(found) - processes + 1, processes)
        used = [",".join(found[start : start + processes]) for start in starts][:workers]
        if not used:
            raise ConfigError(
                f"{processes} processes on {len(found)} GPUs: expected a GPU for each process.",
                hint=f"Use --processes {len(found)} at most.",
            )
        threads = max(1, cores // len(used))
        return tuple(Slot(index=i, device="cuda:0", gpu=name, threads=threads) for i, name in enumerate(used))
    available_gb = psutil.virtual_memory().available / 1e9 if memory_gb is None else memory_gb
    room = min(cores, int(available_gb // JOB_GB)) // processes
    count = workers or max(1, min(room, room if jobs is None else jobs))
    return tuple(Slot(index=i, device="cpu", gpu="", threads=max(1, cores // count)) for i in range(count))


def _nvidia_gpus() -> tuple[str, ...]:
    listed = _nvidia_smi("index")
    if listed:
        return tuple(index for (index,) in listed if index.isdigit())
    return tuple(sorted((p.name[6:] for p in DEV.glob("nvidia[0-9]*") if p.name[6:].isdigit()), key=int))


def _gpu_name(gpu: str) -> str:
    names = {known: name for index, uuid, name in _nvidia_smi("index,uuid,name") for known in (index, uuid)}
    return names.get(gpu, "NVIDIA GPU")


def _nvidia_smi(fields: str) -> list[list[str]]:
    """Ask nvidia-smi for one line of fields per GPU; nothing where the tool is missing or has no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("nvidia-smi did not answer (%s).", error)
        return []
    return [[field.strip() for field in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def processor_name() -> str:
    """Return the name of the processor, as the kernel or else Python has it."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
