"""What can go wrong inside a job's training, model and metric, injected into real jobs under the real runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import fault_jobs
import pandas as pd
import pytest

from bob.store import ResultStore

# Status, error class, what the message says.
ENDINGS = {
    "none": ("ok", None, ""),
    "nan": ("failed", "NumericalError", "every trial diverged; the last: the loss is nan at step 5 of 10, lr"),
    "nan_scores": ("failed", "NumericalError", "the last: the probabilities of 20 of 20 samples are not finite"),
    "raises": ("failed", "KeyError", "a key that is not there"),
    "exits": ("failed", "SystemExit", "3"),
    "interrupts": ("failed", "KeyboardInterrupt", "KeyboardInterrupt"),
    "ends": ("failed", "WorkerDied", "its process ended with exit code 7"),
    "segfaults": ("failed", "WorkerDied", "killed by signal 11 (SIGSEGV); the last lines of its log"),
    "fork_bomb": ("failed", "WorkerDied", "killed by signal 11"),
    "metric": ("failed", "ZeroDivisionError", "the metric divides by zero"),
    "oom_at_a_step": ("ok", None, ""),
    "oom_at_a_step_without_norm": ("ok", None, ""),
    "oom_at_scoring": ("ok", None, ""),
    "oom_at_one_picture": ("oom", "OutOfMemoryError", "one picture at a time ([enforce fail"),
    "hangs": ("timeout", "TimeoutError", "its last report: 'trial 1 of 1', "),
}
TIMEOUT_MIN = {"hangs": 0.5}
FEW = ["none", "nan", "exits", "segfaults", "metric", "oom_at_a_step", "oom_at_one_picture"]


@pytest.fixture(scope="module", params=[FEW, pytest.param(list(ENDINGS), marks=pytest.mark.slow)], ids=["few", "all"])
def faulty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Several faults in one run of two workers, and the run after the faults are gone."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOB_CACHE", str(folder / "cache"))
        fault_jobs.write(folder, request.param)
        by_fault = fault_jobs.jobs(folder, folder / "results", folder / "cache")
        options = {"timeout_min": lambda fault: TIMEOUT_MIN.get(fault, 5.0)}
        first = fault_jobs.run(folder, **options)
        store = ResultStore(folder / "results")
        rows = {fault: store.record(job.id) for fault, job in by_fault.items()}
        after = {"processes": fault_jobs.children(), "files": fault_jobs.leftovers(folder)}
        table = pd.read_parquet(folder / "results" / "results.parquet")
        fault_jobs.switch(folder, on=False)
        second = fault_jobs.run(folder)
        again = {fault: store.record(job.id) for fault, job in by_fault.items()}
        yield {
            **{"folder": folder, "first": first, "rows": rows, "after": after, "table": table},
            **{"second": second, "again": again, "store": store, "jobs": by_fault},
        }


def logged(faulty: dict[str, Any], fault: str) -> str:
    """Return a job's log; the test skips where the fault is not among the few."""
    if fault not in faulty["rows"]:
        pytest.skip(f"{fault} is in the slow run")
    return (faulty["folder"] / "results" / faulty["rows"][fault]["log_path"]).read_text()


def test_a_fault_is_one_row_that_says_what_happened_and_where_its_log_is(faulty: dict[str, Any]) -> None:
    for fault, row in faulty["rows"].items():
        status, error_class, message = ENDINGS[fault]
        said = row.get("error_message") or ""
        assert (row["status"], row.get("error_class")) == (status, error_class), (fault, said)
        assert message in said, fault
        assert (row.get("score") is not None) == (status == "ok"), fault
        assert (faulty["folder"] / "results" / row["log_path"]).is_file(), fault


def test_every_job_has_one_row_and_no_fault_touches_another(faulty: dict[str, Any]) -> None:
    assert faulty["first"].counts == dict(Counter(ENDINGS[fault][0] for fault in faulty["jobs"]))
    assert len(faulty["table"]) == faulty["table"].job_id.nunique() == len(faulty["jobs"])


def test_nothing_that_ran_is_left_behind(faulty: dict[str, Any]) -> None:
    assert faulty["after"] == {"processes": [], "files": []}


def test_the_same_jobs_are_ok_once_the_faults_are_gone(faulty: dict[str, Any]) -> None:
    broken = [fault for fault in faulty["jobs"] if ENDINGS[fault][0] != "ok"]
    assert faulty["second"].counts == {"ok": len(broken)}
    assert faulty["second"].done_before == len(faulty["jobs"]) - len(broken)
    assert {row["status"] for row in faulty["again"].values()} == {"ok"}
    attempts = {fault: faulty["store"].attempts(job.id) for fault, job in faulty["jobs"].items()}
    assert attempts == {fault: 1 + (fault in broken) for fault in faulty["jobs"]}
    assert len(faulty["store"].load()) == len(faulty["jobs"])
    assert not list((faulty["folder"] / "results" / "work").iterdir())


def test_the_stack_of_a_job_that_hangs_in_c_is_in_its_log(faulty: dict[str, Any]) -> None:
    assert "in hangs" in logged(faulty, "hangs")


@pytest.mark.parametrize(("fault", "marked"), [("oom_at_a_step", True), ("oom_at_a_step_without_norm", False)])
def test_memory_that_runs_out_late_shrinks_the_micro_batch_and_the_row_says_so(
    faulty: dict[str, Any], fault: str, marked: bool
) -> None:
    assert "Memory ran out at micro-batch 8: going on with 4" in logged(faulty, fault)
    row = faulty["rows"][fault]
    assert (row["micro_batch"], row["effective_batch"], row["bn_backoff"]) == (4, 8, marked)


def test_memory_that_runs_out_in_scoring_changes_no_training_and_no_score(faulty: dict[str, Any]) -> None:
    assert "pictures in a forward pass: going on with" in logged(faulty, "oom_at_scoring")
    row, plain = faulty["rows"]["oom_at_scoring"], faulty["rows"]["none"]
    assert (row["micro_batch"], row["bn_backoff"]) == (8, False)
    assert row["score"] == plain["score"]
    assert row["nll"] == pytest.approx(plain["nll"], rel=1e-5)
