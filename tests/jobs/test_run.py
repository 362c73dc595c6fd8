"""``run_job``: what becomes a row, what does not, and what a row says whatever came of the job."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from plain_job import JOB

from bob.core.errors import DataMissingError, NumericalError, OutOfMemoryError, StoreError, WeightsMissingError
from bob.data.dataset import DatasetSpec
from bob.jobs import run
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import needs_of
from bob.store import ResultStore
from bob.tasks.result import TaskResult

SPEC = DatasetSpec(
    name="pets",
    kind="imagefolder",
    root="/data/pets",
    fingerprint="f" * 16,
    classes=("cat", "dog"),
    sizes=(("train", 4), ("val", 2), ("test", 4)),
    overlaps=("ImageNet-1k",),
)
OUTCOMES = {"sample_id": np.array(["a", "b"]), "outcome": np.array([1.0, 0.0])}


@pytest.fixture
def context(tmp_path) -> Context:
    log_path = tmp_path / "results" / "logs" / "a.log"
    return Context(results_dir=tmp_path / "results", cache_dir=tmp_path / "cache", threads=2, log_path=log_path)


@pytest.fixture
def job() -> Job:
    return replace(JOB, backbone="tf_efficientnet_lite0.in1k", dataset_spec=SPEC, dataset="pets", uses=())


def giving(score: float):
    def protocol(job: Job, context: Context) -> TaskResult:
        folder = context.work_dir / job.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.pt").write_bytes(b"half way")
        return TaskResult(score=score, score_low=0.1, score_high=0.9, metrics={"top1": score}, outcomes=OUTCOMES)

    return protocol


def test_a_finished_job_leaves_one_row_with_its_outcomes_and_no_checkpoint(job, context, monkeypatch):
    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", giving(0.5))
    row = run.run_job(job, context)
    store = ResultStore(context.results_dir)
    assert store.statuses() == {job.id: "ok"}
    assert store.record(job.id)["score"] == row["score"] == 0.5
    assert store.outcomes(job.id)["outcome"].tolist() == [1.0, 0.0]
    assert not (context.work_dir / job.id).exists()


def test_replicates_and_the_contact_sheet_are_kept_beside_the_row(job, context, monkeypatch):
    replicates = np.array([0.4, np.nan, 0.6])
    result = replace(giving(0.5)(job, context), replicates=replicates, contact_sheet=b"a picture")
    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", lambda job, context: result)
    row = run.run_job(job, context)
    store = ResultStore(context.results_dir)
    assert row["contact_sheet"] == store.record(job.id)["contact_sheet"] == f"sheets/{job.id}.png"
    assert (context.results_dir / row["contact_sheet"]).read_bytes() == b"a picture"
    assert np.array_equal(store.outcomes(job.id).attrs["replicates"], replicates, equal_nan=True)


def test_a_job_without_a_contact_sheet_names_none(job, context, monkeypatch):
    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", giving(0.5))
    assert "contact_sheet" not in run.run_job(job, context)
    assert not (context.results_dir / "sheets").exists()


def test_a_contact_sheet_that_cannot_be_written_leaves_no_row_and_keeps_the_checkpoint(job, context, monkeypatch):
    result = replace(giving(0.5)(job, context), contact_sheet=b"a picture")
    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", lambda job, context: result)
    context.results_dir.mkdir(parents=True, exist_ok=True)
    (context.results_dir / "sheets").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        run.run_job(job, context)
    assert ResultStore(context.results_dir).statuses() == {}
    assert (context.work_dir / job.id / "checkpoint.pt").exists()


def test_a_row_that_cannot_be_written_keeps_the_checkpoint(job, context, monkeypatch):
    def full(*_):
        raise StoreError("no space left")

    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", giving(0.5))
    monkeypatch.setattr(ResultStore, "append", full)
    with pytest.raises(StoreError):
        run.run_job(job, context)
    assert (context.work_dir / job.id / "checkpoint.pt").exists()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_score_that_is_none_never_becomes_a_row(job, context, monkeypatch, score):
    monkeypatch.setattr("bob.tasks.classification.classification_protocols.linear", giving(score))
    with pytest.raises(NumericalError, match="expected a number in"):
        run.run_job(job, context)
    assert ResultStore(context.results_dir).statuses() == {}


def test_the_profile_is_joined_and_gives_way_to_what_the_job_measured(job, context, monkeypatch):
    job = replace(job, uses=("profile",))

    def fill(folder):
        (folder / "profile.json").write_text(json.dumps({"gmacs": 0.4, "train_img_s": 10.0}))

    ArtifactStore(context.cache_dir).get_or_make(needs_of(job)[0], fill)
    measured = giving(0.5)(job, context)
    monkeypatch.setattr(
        "bob.tasks.classification.classification_protocols.linear",
        lambda job, context: replace(measured, cost={"train_img_s": 7.0}),
    )
    row = run.run_job(job, context)
    assert (row["gmacs"], row["train_img_s"]) == (0.4, 7.0)


def test_every_row_says_where_it_came_from_whatever_came_of_it(job, context):
    row = run.failure_row(job, context, status="failed", error_class="ValueError", message="it broke")
    assert row["error"] == "ValueError: it broke"
    assert row["log_path"] == "logs/a.log"
    assert row["data_overlap"] == "ImageNet-1k"
    for name in ("job_id", "cell", "backbone", "torch_version", "host", "bob_version", "threads", "budget"):
        assert row[name] is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfMemoryError("no memory"), "oom"),
        (MemoryError(), "oom"),
        (WeightsMissingError("none"), "skipped"),
        (DataMissingError("none"), "skipped"),
        (TimeoutError(), "timeout"),
        (ValueError("bad"), "failed"),
    ],
)
def test_each_kind_of_failure_has_its_status_and_a_message(error, status):
    assert run.status_of(error) == status
    assert run.message_of(error)
