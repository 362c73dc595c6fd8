"""A learning-rate search that can be stopped at any step and goes on bit for bit: trials, the best one, its weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bob.core.errors import BobError, NumericalError
from bob.jobs.context import JobStopped, Progress
from bob.training.checkpoint import Checkpoints
from bob.training.distributed import ALONE, Ranks
from bob.training.termination import EXIT_CODE, noticing_termination
from bob.training.trial import Batches, Trial

log = logging.getLogger(__name__)

Evaluate = Callable[[Trial], tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to try.

    Attributes:
        lrs: Peak learning rates, in the order tried.
        build: (lr) -> a fresh trial; it must be the same trial each time it is asked for.
        batches: (first step) -> the training batches from that step on.
        evaluate: (trained trial) -> (validation score, validation loss or None). Higher score wins, then lower loss.
        checkpoints: Where unfinished work is kept.
        progress: Told ("trial i of n", steps done, steps) after each step. ``JobStopped`` out of it, or out of
            ``evaluate``, saves and passes on. Of several processes rank 0's is told, and all stop at the same step.
        ranks: This process among those of the job: all run the same search, rank 0 writes and decides.
    """

    lrs: Sequence[float]
    build: Callable[[float], Trial]
    batches: Callable[[int], Batches]
    evaluate: Evaluate
    checkpoints: Checkpoints
    progress: Progress
    ranks: Ranks = ALONE


@dataclass
class Found:
    """What the search found.

    Attributes:
        trials: Per learning rate: ``lr``, ``val_score``, ``val_loss``, ``error``, and its cost and memory facts.
        best: Index of the winner; None as long as no trial ended well.
        resumed_from_step: Step of the running trial at which this process took over; None if it began at the beginning.
    """

    trials: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None
    resumed_from_step: int | None = None

    def winner(self) -> dict[str, Any]:
        """Return the best trial's entry."""
        if self.best is None:
            raise RuntimeError("the search has no winner yet")
        return self.trials[self.best]

    def grid_edge(self) -> bool:
        """Tell whether the winner has the least or the greatest of several rates tried."""
        rates = [trial["lr"] for trial in self.trials]
        return len(rates) > 1 and self.winner()["lr"] in (min(rates), max(rates))


def run_search(search: Search) -> tuple[Found, dict[str, Any]]:
    """Train every trial and return what was found and the best one's ``state_dict`` (on the CPU).

    A diverged trial loses; the others go on. The caller clears ``search.checkpoints`` when the job is done.

    Raises:
        NumericalError: Every trial diverged; the message is the last one's, and the next attempt trains anew.
        OutOfMemoryError: Memory ran out with one picture at a time.
        JobStopped: The runner asked for it; the checkpoint is written.
        SystemExit: SIGTERM came and no runner listens; the checkpoint is written.
    """
    saved, found = _resumed(search)
    trial_state = saved.get("trial")
    for index in range(len(found.trials), len(search.lrs)):
        _run_trial(search, found, index, trial_state)
        trial_state = None
    best = search.checkpoints.load_best()
    if found.best is None or best is None:
        # A rerun is asked for when its cause is gone: it must try again, not repeat what is written here.
        search.checkpoints.clear()
        raise NumericalError(f"every trial diverged; the last: {found.trials[-1]['error']}", hint="Set smaller lrs.")
    return found, best["model"]


def _resumed(search: Search) -> tuple[dict[str, Any], Found]:
    saved = search.checkpoints.load() or {}
    found = Found(trials=saved.get("trials", []), best=saved.get("best"))
    if found.best is not None and search.checkpoints.load_best() is None:
        saved, found = {}, Found()
    places = search.ranks.gathered((len(found.trials), saved.get("trial", {}).get("step")))
    if len(set(places)) > 1:
        raise BobError(
            f"the job's processes found different checkpoints (trials ended, step: {places}).",
            hint="The results folder must be the same on every node; run the job again.",
        )
    return saved, found


def _run_trial(search: Search, found: Found, index: int, state: dict[str, Any] | None) -> None:
    lr = search.lrs[index]
    trial = search.build(lr)
    if found.trials:
        trial.limit_micro_batch(found.trials[-1]["micro_batch"])
    if state is not None:
        trial.load_state(state)
        found.resumed_from_step = trial.done
        log.info("Going on with trial %d of %d at step %d.", index + 1, len(search.lrs), trial.done)
    entry: dict[str, Any] = {"lr": lr, "val_score": None, "val_loss": None, "error": None}
    try:
        _train(search, found, index, trial)
        score, loss = search.ranks.agreed(search.evaluate(trial))
        entry |= {"val_score": score, "val_loss": loss}
    except JobStopped:
        _save(search, found, trial)
        raise
    except NumericalError as error:
        log.warning("Trial %d of %d (lr %g) is lost: %s", index + 1, len(search.lrs), lr, error.message)
        entry |= {"error": error.message}
    entry |= {"train_s": trial.clock.seconds, "train_img_s": trial.clock.rate()}
    entry |= {"micro_batch": trial.stepper.micro_batch, "steps": trial.done}
    # The clocks of several processes differ: every rank has rank 0's figures.
    found.trials.append(search.ranks.agreed(entry))
    better = entry["error"] is None and _better(entry, found)
    if better:
        found.best = index
    if search.ranks.first:
        if better:
            search.checkpoints.save_best({"model": trial.model.state_dict()})
        search.checkpoints.save({"trials": found.trials, "best": found.best})
    search.ranks.agreed(None)  # nobody reads before it is written


def _train(search: Search, found: Found, index: int, trial: Trial) -> None:
    phase = f"trial {index + 1} of {len(search.lrs)}"
    with noticing_termination() as termination:

        def after_step() -> None:
            """Report, save if it is time, and end if somebody wants that."""
            search.ranks.raised(lambda: search.progress(phase, trial.done, trial.recipe.steps))
            due = search.ranks.first and (search.checkpoints.due() or termination.asked)
            due, ending = search.ranks.agreed((due, termination.asked))
            if due:
                _save(search, found, trial)
            if ending:
                log.warning("SIGTERM: the checkpoint is written at step %d.", trial.done)
                raise SystemExit(EXIT_CODE)

        if trial.done < trial.recipe.steps:
            trial.run(search.batches(trial.done), after_step=after_step)


def _save(search: Search, found: Found, trial: Trial) -> None:
    state = trial.state()
    if search.ranks.first:
        search.checkpoints.save({"trials": found.trials, "best": found.best, "trial": state})


def _better(entry: dict[str, Any], found: Found) -> bool:
    if found.best is None:
        return True
    rival = found.winner()
    return (entry["val_score"], -_or_inf(entry["val_loss"])) > (rival["val_score"], -_or_inf(rival["val_loss"]))


def _or_inf(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.inf
