"""One job over several processes: who computes what, and how they agree. With one process nothing here does anything.

A job's processes (ranks) run the same code on the same data. Of a training batch each takes its share; whole batches of
an evaluation are computed in turn, so that each is composed as in one process and gives the same numbers; decisions are
rank 0's alone. What is agreed on travels over a CPU group, gradients over the device's own.
"""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.core.errors import BobError, OutOfMemoryError
from bob.jobs.context import Context, JobStopped

log = logging.getLogger(__name__)

# Waiting has no limit of its own: a rank may wait for another runner's training, and the launcher ends the others of a
# rank that died.
WAIT = datetime.timedelta(days=30)
PORT_TEXTS = ("EADDRINUSE", "address already in use", "Address already in use")
Batch = TypeVar("Batch")
Result = TypeVar("Result")
Value = TypeVar("Value")


class PortTakenError(BobError):
    """Another program listens on the port at which the ranks were to meet: they are started again with another."""


class MicroBatchError(OutOfMemoryError):
    """Memory ran out on one rank of several: all start again, with a smaller micro-batch, from the last checkpoint.

    Attributes:
        micro_batch: Pictures in the forward pass that did not fit.
    """

    def __init__(self, message: str, *, micro_batch: int) -> None:
        super().__init__(message, hint="Lower the input size, or give the job devices with more memory.")
        self.micro_batch = micro_batch


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of its job.

    Attributes:
        rank: Its number, from 0.
        processes: How many there are.
        limit: The most pictures per forward pass in training, after memory ran out; None for no limit.
    """

    rank: int = 0
    processes: int = 1
    limit: int | None = None

    @classmethod
    def of(cls, context: Context) -> Ranks:
        """Return this process's place, joining the others first if they have not met yet.

        Raises:
            PortTakenError: The port where they were to meet is another program's.
        """
        if context.processes > 1:
            _meet(context)
        return cls(rank=context.rank, processes=context.processes, limit=context.micro_batch)

    @property
    def alone(self) -> bool:
        """Whether the job has this process only."""
        return self.processes == 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which decides, reports and writes."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """The rank and how many there are, as the batches take it."""
        return self.rank, self.processes

    def largest_share(self, batch: int) -> int:
        """Return the most pictures of a batch that a rank takes (``Tensor.tensor_split``: shares differ by one)."""
        return -(-batch // self.processes)

    def agreed(self, value: Value) -> Value:
        """Return rank 0's value on every rank; the others' is not looked at. All ranks must call it."""
        if self.alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=_GROUPS["cpu"])
        return box[0]

    def gathered(self, value: Value) -> list[Value]:
        """Return every rank's value, by rank, on every rank. All ranks must call it."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.processes
        dist.all_gather_object(values, value, group=_GROUPS["cpu"])
        return values

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum over ranks of a tensor, on every rank. All ranks must call it."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def raised(self, report: Callable[[], None]) -> None:
        """Call ``report`` on rank 0, and raise ``JobStopped`` on every rank if it does. All ranks must call this."""
        if self.alone:
            report()
        elif stop := self.agreed(_stopped(report) if self.first else None):
            raise JobStopped(stop)

    def in_turn(
        self,
        mine: Iterator[Batch],
        compute: Callable[[Batch], Result],
        *,
        count: int,
        report: Callable[[Result], None],
    ) -> Iterator[Result]:
        """Yield the results of ``count`` batches in order on every rank, each computed by one of them.

        Args:
            mine: This rank's batches: those numbered ``rank``, ``rank + processes``, ...
            compute: Its result is pickled for the others: let it be small, and on the CPU.
            count: How many batches there are over all ranks; the last round may be incomplete.
            report: Called on rank 0 with each result, once the round it belongs to is yielded; a ``JobStopped`` from
                it is raised on every rank.
        """
        for start in range(0, count, self.processes):
            here = start + self.rank < count
            results = self.gathered(compute(next(mine)) if here else None)[: count - start]
            # A rank without a batch takes part in its round all the same: the others would wait for it.
            yield from results  # type: ignore[misc]
            self.raised(lambda results=results: _each(report, results))  # type: ignore[misc]

    def average_norms(self, model: nn.Module) -> None:
        """Give each batch norm in training mode the mean over ranks of its running statistics.

        Each rank normalises by its own share where ``SyncBatchNorm`` cannot run, on a CPU.
        """
        if self.alone:
            return
        for module in trained_norms(model):
            if isinstance(module, nn.SyncBatchNorm) or module.running_mean is None or module.running_var is None:
                continue
            for statistic in (module.running_mean, module.running_var):
                statistic.copy_(self.summed(statistic.clone()) / self.processes)


ALONE = Ranks()


def trained_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms in training mode: those that normalise by what they are given."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]


def synchronise_norms(model: nn.Module) -> None:
    """Replace each batch norm in training mode below ``model`` by one that normalises over all ranks; GPUs only.

    Parameters, statistics and the names in the ``state_dict`` stay as they are. Norms in evaluation mode stay too.
    """
    from timm.layers import convert_sync_batchnorm  # torch's own loses the activation in timm's norms

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and child.training and not isinstance(child, nn.SyncBatchNorm):
                setattr(parent, name, convert_sync_batchnorm(child))


def _each(report: Callable[[Any], None], results: list[Any]) -> None:
    for result in results:
        report(result)


def _stopped(report: Callable[[], None]) -> str | None:
    try:
        report()
    except JobStopped as stopped:
        return str(stopped) or "asked to stop"
    return None


_GROUPS: dict[str, Any] = {}  # "cpu": the group in which ranks agree; a process has one for its life


def _meet(context: Context) -> None:
    """Make this process's groups: one for gradients, by the device's own library, one for agreements."""
    if _GROUPS:
        return
    device = torch.device(context.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            backend="nccl" if device.type == "cuda" else "gloo",
            rank=context.rank,
            world_size=context.processes,
            timeout=WAIT,
        )
    except (RuntimeError, ValueError) as error:
        if not any(text in str(error) for text in PORT_TEXTS):
            raise
        raise PortTakenError(
            f"port {os.environ.get('MASTER_PORT')} of {os.environ.get('MASTER_ADDR')} is taken: {error}"
        ) from error
    _GROUPS["cpu"] = dist.new_group(backend="gloo", timeout=WAIT) if device.type == "cuda" else dist.group.WORLD
    log.info("Rank %d of %d has met the others.", context.rank, context.processes)
