"""What starts the ranks of a job, on this machine or on the nodes of a SLURM allocation: commands and environments."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from bob.core.errors import ConfigError
from bob.runners.worker.assignment import Assignment

SLURM_TIMEOUT_S = 30
LENGTH_BYTES = 8  # of the order's length, which is written before the order
WARNINGS = (signal.SIGTERM, signal.SIGUSR2)  # what asks a rank to save and stop
# What SLURM tells the step that starts the ranks, and what srun would take for its own options.
OF_THE_OUTER_STEP = (
    *("RANK", "LOCAL_RANK", "SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_CPUS_PER_TASK"),
    *("SLURM_TRES_PER_TASK", "SLURM_DISTRIBUTION"),
)


def local_commands(
    assignment: Assignment, environment: Mapping[str, str], *, port: int
) -> list[tuple[list[str], dict[str, str]]]:
    """Return the command and the environment of each rank on this machine, by rank."""
    context = assignment.context
    shared = rank_environment(assignment, environment, address="127.0.0.1", port=port)
    if context.device == "cpu" and "GLOO_SOCKET_IFNAME" not in shared and "lo" in _interfaces():
        shared["GLOO_SOCKET_IFNAME"] = "lo"  # nobody outside this machine has a say
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(context.processes)]
    return [(rank_command(), {**shared, **place}) for place in places]


def srun_command(
    assignment: Assignment, environment: Mapping[str, str], *, port: int, first_host: str
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment with which SLURM starts the ranks on the nodes of the running allocation.

    srun gives each rank a copy of stdin and passes every rank's lines on; each finds its place in SLURM's variables.

    Raises:
        ConfigError: The processes do not divide evenly over the nodes.
    """
    each = processes_per_node(assignment.context.processes, assignment.nodes)
    command = [
        *("srun", "--overlap", f"--nodes={assignment.nodes}", f"--ntasks={assignment.context.processes}"),
        *(f"--ntasks-per-node={each}", f"--cpus-per-task={assignment.context.threads}", "--kill-on-bad-exit=1"),
        *("--cpu-bind=none", "--export=ALL", "--input=all", *rank_command()),
    ]
    shared = rank_environment(assignment, environment, address=first_host, port=port)
    # What SLURM has told the runner's own step would be taken for options of this one.
    return command, {name: value for name, value in shared.items() if not name.startswith(OF_THE_OUTER_STEP)}


def processes_per_node(processes: int, nodes: int) -> int:
    """Return how many of a job's processes a node has.

    Raises:
        ConfigError: They do not divide evenly.
    """
    if nodes < 1 or processes < 1 or processes % nodes:
        raise ConfigError(
            f"{processes} processes on {nodes} nodes: expected the same number on each.",
            hint="Make --processes a multiple of the nodes.",
        )
    return processes // nodes


def rank_command() -> list[str]:
    """Return what starts a rank."""
    return [sys.executable, "-m", "bob.runners.ranks.rank_process"]


def rank_environment(
    assignment: Assignment, environment: Mapping[str, str], *, address: str, port: int
) -> dict[str, str]:
    """Return the variables that all ranks share: where they meet, what they may use, where modules are."""
    context = assignment.context
    threads = str(context.threads)
    return {
        **environment,
        "WORLD_SIZE": str(context.processes),
        "LOCAL_WORLD_SIZE": str(context.processes // assignment.nodes),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": str(context.device == "cpu").lower(),
        "CUDA_VISIBLE_DEVICES": assignment.gpu,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",
    }


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def first_host() -> str:
    """Return the first node of the running SLURM allocation.

    Raises:
        ConfigError: There is no allocation, or SLURM does not answer.
    """
    nodes = os.environ.get("SLURM_JOB_NODELIST")
    if nodes is None:
        raise ConfigError("several nodes need a SLURM allocation: SLURM_JOB_NODELIST is not set.")
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLURM_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"'{' '.join(command)}' failed: {error}") from error
    return done.stdout.split()[0]


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}
