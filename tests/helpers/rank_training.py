"""What each rank trains in the tests of several processes: the toys of ``training_toys``, as the job says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from runner_jobs import base_row, failure_row
from torch import Tensor, nn
from training_toys import BATCH, CPU, LOSS, STEPS, batch_of, network

from bob.jobs.context import Context, JobStopped
from bob.jobs.job import Job
from bob.store import ResultStore
from bob.training.checkpoint import Checkpoints
from bob.training.distributed import Ranks
from bob.training.inference import Forward
from bob.training.optimiser import parameter_groups
from bob.training.search import Search, run_search
from bob.training.step import of_outputs
from bob.training.trial import Recipe, Trial

__all__ = ["base_row", "failure_row"]
PICTURES, EVALUATION_BATCH = 7, 3
STOP_AT = 5
SHORTAGE = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")


class Hungry(nn.Module):
    """Has no room for more than two pictures from call 6 on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """Count, and fail like an allocator."""
        self.calls += 1
        if self.training and self.calls > 6 and len(images) > 2:
            raise SHORTAGE
        return self.inner(images)


def execute(job: Job, context: Context) -> dict[str, Any]:
    """Search, evaluate, and leave what this rank has; rank 0 appends the row."""
    torch.set_num_threads(1)
    ranks, act = Ranks.of(context), dict(job.params)["act"]
    found, weights = run_search(toy_search(context, ranks, act))
    folder = context.results_dir.parent / "found"
    folder.mkdir(exist_ok=True)
    answers = answered(ranks, weights, act)
    state = {"weights": weights, "trials": found.trials, "resumed": found.resumed_from_step, "answers": answers}
    torch.save(state, folder / f"{context.rank}.pt")
    row = base_row(job, context) | {"status": "ok", "score": 0.5}
    if ranks.first:
        ResultStore(context.results_dir).append(row)
    return row


def toy_search(context: Context, ranks: Ranks, act: str) -> Search:
    """Return the search over two rates; ``plain`` has neither dropout nor batch norm."""

    def progress(phase: str, done: int, total: int) -> None:
        if act == "stopped" and phase == "trial 2 of 2" and done == STOP_AT and not (mark := _mark(context)).exists():
            mark.touch()
            raise JobStopped

    return Search(
        lrs=(1e-3, 3e-2),
        build=lambda lr: toy_trial(lr, ranks, act),
        batches=lambda first: shares(first, ranks),
        evaluate=lambda trial: evaluated(trial, ranks),
        checkpoints=Checkpoints(context.work_dir, every_steps=4),
        progress=progress,
        ranks=ranks,
    )


def model_of(act: str, rank: int = 0) -> nn.Module:
    """Return the network of an act."""
    plain = act in ("plain", "hungry")
    inner = network(batch_norm=not plain, dropout=0.0 if plain else 0.2)
    # All ranks wrap, so that their parameters have the same names; only rank 1 is hungry.
    model = Hungry(inner) if act == "hungry" else inner
    if isinstance(model, Hungry) and rank != 1:
        model.calls = -1000
    return model


def toy_trial(lr: float, ranks: Ranks, act: str) -> Trial:
    """Return the same trial on every rank, but for its dropout."""
    model = model_of(act, ranks.rank)
    groups = parameter_groups([list(model.named_parameters())], lr=lr, layer_decay=1.0, weight_decay=0.05)
    recipe = Recipe(lr=lr, steps=STEPS, warmup_steps=2, batch_size=BATCH, clip_norm=1.0, precision="fp32")
    torch.manual_seed(17 + ranks.rank)
    return Trial(model=model, groups=groups, loss=of_outputs(LOSS), recipe=recipe, device=CPU, ranks=ranks)


def shares(first: int, ranks: Ranks) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's share of each batch."""
    step = first
    while True:
        images, labels = batch_of(step)
        yield images.tensor_split(ranks.processes)[ranks.rank], labels.tensor_split(ranks.processes)[ranks.rank]
        step += 1


def outputs(model: nn.Module, ranks: Ranks) -> Tensor:
    """Return the outputs of 7 pictures, computed in batches of 3 in turn."""
    images, _ = batch_of(10_000, PICTURES)
    batches = list(images.split(EVALUATION_BATCH))
    forward = Forward(model, device=CPU, precision="fp32")
    mine = iter(batches[ranks.rank :: ranks.processes])
    return torch.cat(list(ranks.in_turn(mine, forward, count=len(batches), report=lambda _: None)))


def evaluated(trial: Trial, ranks: Ranks) -> tuple[float, float]:
    """Return accuracy and loss."""
    _, labels = batch_of(10_000, PICTURES)
    found = outputs(trial.model, ranks)
    return float((found.argmax(1) == labels).double().mean()), float(nn.functional.cross_entropy(found, labels))


def answered(ranks: Ranks, weights: dict[str, Tensor], act: str) -> Tensor:
    """Return the outputs of the network with these weights."""
    model = model_of(act)
    model.load_state_dict(weights)
    return outputs(model, ranks)


def _mark(context: Context) -> Any:
    return context.cache_dir / "stopped"
