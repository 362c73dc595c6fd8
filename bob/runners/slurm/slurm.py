"""SLURM through submitit: submissions as arrays, what the queue says of them, and their end."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bob.core.errors import BobError
from bob.jobs.cluster_profile import ClusterProfile
from bob.runners.slurm.submission import Array, Submission, update_submission

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 60
DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED", "CONFIGURING")


@dataclass(frozen=True, kw_only=True)
class Queued:
    """An allocation in SLURM's queue.

    Attributes:
        id: ``ARRAY_TASK``, or the number of a job that is no array.
        state: SLURM's word: PENDING, RUNNING, COMPLETING, ...
        reason: Why it waits; empty if it does not.
        nodes: Where it runs.
        user: Whose it is, by number.
    """

    id: str
    state: str
    reason: str
    nodes: str
    user: int

    @property
    def is_mine(self) -> bool:
        """Whether this user may end it: its owner, or root."""
        return os.getuid() in (0, self.user)

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in WAITING


def has_slurm() -> bool:
    """Tell whether SLURM's commands are here."""
    return shutil.which("sbatch") is not None and shutil.which("srun") is not None


def require_slurm() -> None:
    """Raise BobError where SLURM's commands are missing."""
    if not has_slurm():
        raise BobError(
            "executor 'slurm': sbatch and srun are not on this machine.",
            hint="Give the command on a login node of the cluster; --dry-run shows what would be submitted.",
        )


def max_array_size() -> int:
    """Return how many allocations an array may have, as the cluster says; SLURM's default without a cluster.

    Raises:
        BobError: The cluster does not answer.
    """
    if not has_slurm():
        return DEFAULT_MAX_ARRAY_SIZE
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    # It bounds the index, which counts from 0, from above: an array may have as many tasks as it says.
    return max(1, int(match[1])) if match else DEFAULT_MAX_ARRAY_SIZE


def parameters(submission: Submission, number: int, profile: ClusterProfile) -> dict[str, Any]:
    """Return what submitit is told of a submission's array, by SLURM's own names."""
    array = submission.arrays[number]
    shape = array.shape
    single: dict[str, Any] = {
        "job_name": f"bob-{submission.suite}",
        "partition": shape.partition,
        "constraint": shape.constraint,
        "account": profile.account,
        "qos": profile.qos,
        "time": shape.time_min,
        "nodes": shape.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": shape.cpus,
        "gpus_per_node": shape.gpus or None,
        "mem": None if shape.mem_gb is None else f"{round(shape.mem_gb * 1e9 / 2**20)}M",
        "setup": ["export PYTHONSAFEPATH=1  # the current folder is no place to import from", *profile.setup],
        # The step's end is looked at by whoever outlives it: the batch script.
        "teardown": [
            "status=$?",
            f"{_python()} -m bob.runners.slurm.aftermath {shlex.quote(str(submission.folder))} {number} "
            '"${SLURM_ARRAY_TASK_ID:-0}" "$status"',
            'exit "$status"',
        ],
        "signal_delay_s": profile.warn_s,
        "array_parallelism": profile.array_parallelism,
        "stderr_to_stdout": True,
        "wckey": None,
        "comment": submission.id,
        # One runner on the first node; it starts what runs on the others.
        # Some versions of srun do not take over the cores of the allocation by themselves.
        "srun_args": [f"--cpus-per-task={shape.cpus}", *(["--nodes=1", "--ntasks=1"] if shape.nodes > 1 else [])],
        "additional_parameters": {
            "requeue": True,
            **{name: value for name, value in profile.options.items() if value is not False},
        },
    }
    return {name: value for name, value in single.items() if value is not None} | {"wckey": None}


def batch_text(submission: Submission, number: int, profile: ClusterProfile) -> str:
    """Return the batch script of a submission's array, as ``sbatch`` would get it. Needs no SLURM."""
    from submitit.slurm import slurm

    folder = submission.folder / "slurm"
    tasks = len(submission.arrays[number].tasks)
    return slurm._make_sbatch_string(
        command=f"{_python()} -u -m submitit.core._submit {shlex.quote(str(folder))}",
        folder=folder,
        map_count=tasks if tasks > 1 else None,
        **parameters(submission, number, profile),
    )


def submit(submission: Submission, profile: ClusterProfile) -> Submission:
    """Hand a written submission to SLURM, array by array, and return it with SLURM's numbers.

    Raises:
        BobError: There is no SLURM here, or it refuses an array; what it had accepted before stays and is kept.
    """
    require_slurm()
    for number, array in enumerate(submission.arrays):
        try:
            slurm_id = _submit_array(submission, number, profile)
        except (subprocess.CalledProcessError, OSError, RuntimeError, ValueError) as error:
            raise BobError(
                f"SLURM refused array {number + 1} of {len(submission.arrays)}: {_reason(error)}",
                hint=f"{number} arrays were accepted ('bob status' shows them). Give the same command again for the "
                "rest, with other cluster settings if SLURM says so.",
            ) from error
        kept = list(submission.arrays)
        kept[number] = replace(array, slurm_id=slurm_id)
        submission = replace(submission, arrays=tuple(kept))
        update_submission(submission)
    return submission


def queue(submissions: Sequence[Submission] = ()) -> dict[str, Queued]:
    """Return the allocations that have not ended, by number.

    Args:
        submissions: Whose users' allocations are asked for beside this user's own: several may share a store.

    Raises:
        BobError: The cluster does not answer, or SLURM is not on this machine.
    """
    owners = {os.getuid(), *map(_owner, submissions)} - {None}
    users = ",".join(sorted(map(str, owners)))
    text = _ask("squeue", "--noheader", "--array", "--user", users, "--format", "%i|%U|%T|%r|%N")
    found = {}
    for line in text.splitlines():
        if line.count("|") < 4:
            continue
        name, user, state, reason, nodes = (part.strip() for part in line.split("|", 4))
        why = "" if reason == "None" else reason
        found[name] = Queued(id=name, state=state, reason=why, nodes=nodes, user=int(user))
    return found


def allocation_of(array: Array, task: int) -> str:
    """Return SLURM's number of an array's allocation; empty if it was never accepted."""
    if array.slurm_id is None:
        return ""
    return f"{array.slurm_id}_{task}" if len(array.tasks) > 1 else array.slurm_id


def live_tasks(submissions: Sequence[Submission], queued: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the job ids of every allocation that is in the queue, by its number."""
    found = {}
    for submission in submissions:
        for array in submission.arrays:
            for task, job_ids in enumerate(array.tasks):
                name = allocation_of(array, task)
                if name in queued:
                    found[name] = job_ids
    return found


def cancel(allocations: Sequence[str]) -> None:
    """End allocations, waiting or running.

    Raises:
        BobError: The cluster does not answer.
    """
    for start in range(0, len(allocations), 200):
        _ask("scancel", *allocations[start : start + 200])


def requeue(allocation: str) -> bool:
    """Put an allocation back into the queue; tell whether SLURM did."""
    try:
        _ask("scontrol", "requeue", allocation)
    except BobError as error:
        log.warning("%s cannot be requeued: %s", allocation, error.message)
        return False
    return True


def restarts() -> int:
    """Return how often SLURM has started the allocation of this process before."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _submit_array(submission: Submission, number: int, profile: ClusterProfile) -> str:
    from submitit.slurm.slurm import SlurmExecutor

    from bob.runners.slurm.allocation import Allocation

    executor = SlurmExecutor(folder=submission.folder / "slurm", max_num_timeout=profile.attempts)
    executor.update_parameters(**parameters(submission, number, profile))
    array = submission.arrays[number]
    with executor.batch():
        jobs = [
            executor.submit(Allocation(folder=str(submission.folder), array=number, task=task))
            for task in range(len(array.tasks))
        ]
    return str(jobs[0].job_id).partition("_")[0]


def _owner(submission: Submission) -> int | None:
    """Return the user that submitted it, who owns its folder; None if that is gone."""
    try:
        return submission.folder.stat().st_uid
    except FileNotFoundError:
        return None


def _python() -> str:
    return shlex.quote(sys.executable)


def _ask(*command: str) -> str:
    try:
        # The user's own defaults for squeue must not hide half of the queue.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True, env=environment
        )
    except subprocess.CalledProcessError as error:
        raise BobError(
            f"{command[0]} failed: {error.stderr.strip() or error}.", hint="'sinfo' shows the cluster."
        ) from error
    except FileNotFoundError as error:
        hint = "Give the command on a login node of the cluster."
        raise BobError(f"{command[0]} is not on this machine.", hint=hint) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BobError(f"{command[0]} does not answer: {error}.", hint="'sinfo' shows the cluster.") from error
    return done.stdout


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    lines = [line for line in str(text).splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower()]
    return (told or lines or [type(error).__name__])[-1].strip()
