"""Training over several processes, by gloo: weights of one process up to rounding, exact evaluation and resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runner_jobs
import torch
from places import HELPERS
from rank_training import STOP_AT, answered, toy_search
from torch import nn

from bob.jobs.context import Context
from bob.jobs.job import Budget
from bob.runners.ranks.rank_launch import launch
from bob.runners.worker.assignment import Assignment, References
from bob.runners.worker.worker import recorded
from bob.store import ResultStore
from bob.training.distributed import ALONE, synchronise_norms
from bob.training.search import run_search

TOLERANCE = 1e-5  # of weights of about 1 after 12 steps: sums come out in another order


@pytest.fixture(autouse=True)
def alone_and_one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(HELPERS))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ranks_run(folder: Path, act: str, processes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the toy job in fresh processes; return the outcome and what each rank found, if it ended well."""
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    context = Context(
        results_dir=folder / "results", cache_dir=folder / "cache", processes=processes, log_path=folder / "job.log"
    )
    names = {name: f"rank_training:{name}" for name in ("execute", "failure_row")}
    job = runner_jobs.job(0, act, budget=Budget(images_seen=8))
    told = Assignment(job=job, need=None, context=context, gpu="", references=References(**names))
    outcome = recorded(told, launch(told, context))
    if outcome["status"] != "ok":
        return outcome, []
    found = [torch.load(folder / "found" / f"{rank}.pt", weights_only=False) for rank in range(processes)]
    return outcome, found


def alone(folder: Path, act: str) -> tuple[Any, dict[str, torch.Tensor]]:
    context = Context(results_dir=folder, cache_dir=folder)
    return run_search(toy_search(context, ALONE, act))


def assert_near(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=TOLERANCE, msg=name)


def assert_equal(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name, value in theirs.items():
        assert torch.equal(mine[name], value), name


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_weights_are_those_of_one_process_and_evaluation_is_exact(tmp_path, processes):
    outcome, found = ranks_run(tmp_path, "plain", processes)
    assert outcome["status"] == "ok", (tmp_path / "job.log").read_text()
    one, weights = alone(tmp_path / "one", "plain")
    for rank in found:
        assert_near(rank["weights"], weights)
        assert_equal(rank["weights"], found[0]["weights"])
        # 7 pictures in batches of 3 over 2 and 3 processes: bit for bit what one process says of the same weights.
        assert torch.equal(rank["answers"], answered(ALONE, found[0]["weights"], "plain"))
    for mine, theirs in zip(found[0]["trials"], one.trials, strict=True):
        assert mine["val_score"] == theirs["val_score"]
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], abs=TOLERANCE)
        assert mine["steps"] == theirs["steps"]
    assert [trial["micro_batch"] for trial in found[0]["trials"]] == [-(-8 // processes)] * 2
    assert len(ResultStore(tmp_path / "results").statuses()) == 1


@pytest.mark.slow
def test_a_stopped_job_resumes_bit_for_bit_with_as_many_processes(tmp_path):
    _, whole = ranks_run(tmp_path / "whole", "whole", 2)
    outcome, _ = ranks_run(tmp_path / "stopped", "stopped", 2)
    assert outcome["status"] == "stopped"
    assert not list((tmp_path / "stopped" / "results").rglob("*.json"))
    outcome, resumed = ranks_run(tmp_path / "stopped", "stopped", 2)
    assert outcome["status"] == "ok"
    for mine, theirs in zip(resumed, whole, strict=True):
        assert mine["resumed"] == STOP_AT
        # With dropout, and batch norm's statistics, which are the same on every rank.
        assert_equal(mine["weights"], theirs["weights"])
        assert_equal(mine["weights"], whole[0]["weights"])
        assert mine["trials"][1]["val_loss"] == theirs["trials"][1]["val_loss"]


@pytest.mark.slow
def test_memory_that_runs_out_late_on_one_rank_costs_steps_but_no_job(tmp_path):
    outcome, found = ranks_run(tmp_path, "hungry", 2)
    assert outcome["status"] == "ok", (tmp_path / "job.log").read_text()
    assert [trial["micro_batch"] for trial in found[0]["trials"]] == [2, 2]
    assert found[0]["resumed"] == 4, "the last checkpoint before step 6"
    _, weights = alone(tmp_path / "one", "plain")
    assert_near({name.removeprefix("inner."): value for name, value in found[0]["weights"].items()}, weights)


@pytest.mark.slow
def test_a_checkpoint_of_several_processes_goes_on_in_one(tmp_path, caplog):
    outcome, _ = ranks_run(tmp_path, "stopped", 2)
    assert outcome["status"] == "stopped"
    context = Context(results_dir=tmp_path / "results", cache_dir=tmp_path / "cache")
    found, _ = run_search(toy_search(context, ALONE, "stopped"))
    assert found.resumed_from_step == STOP_AT
    assert "2 processes, this job has 1" in caplog.text


def test_norms_over_all_ranks_keep_names_numbers_and_activations():
    from timm.layers import BatchNormAct2d

    frozen = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), frozen)
    model.train()
    frozen.eval()
    images = torch.randn(2, 3, 5, 5)
    model(images)
    parameters = {name: id(value) for name, value in model.named_parameters()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    synchronise_norms(model)
    kinds = [isinstance(model[place], nn.SyncBatchNorm) for place in (1, 3, 4)]
    assert kinds == [True, True, False], "a norm in evaluation mode stays as it is"
    assert {name: id(value) for name, value in model.named_parameters()} == parameters, "the optimiser holds them"
    assert_equal(model.state_dict(), state)
    assert isinstance(model[1].act, nn.ReLU)


def test_ranks_with_other_checkpoints_are_refused():
    from bob.core.errors import BobError
    from bob.training.search import _resumed

    class Odd(type(ALONE)):
        def gathered(self, value):
            return [value, (1, None)]

    search = toy_search(Context(results_dir=Path("nowhere"), cache_dir=Path("nowhere")), ALONE, "plain")
    with pytest.raises(BobError, match="different checkpoints"):
        _resumed(replace(search, ranks=Odd()))
