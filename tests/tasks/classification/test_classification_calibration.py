"""Calibration in every classification row: before and after a temperature that val alone chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from classification_jobs import COUNTS, context_of, job_of, write_folder
from scipy.special import softmax

from bob.data.dataset import DatasetSpec
from bob.data.imagenet import wnids
from bob.jobs.job import Budget
from bob.jobs.row import BY_NAME
from bob.jobs.run import run_job
from bob.metrics.calibration import calibration_metrics, fit_temperature, scaled
from bob.metrics.classification_metrics import classification_metrics
from bob.metrics.reliability_bins import diagram_error
from bob.store import ResultStore
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification.classification_result import classified
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.classification.feature_classifiers import fit_fewshot_probe, fit_linear, knn_vote
from bob.tasks.classification.picture_classifiers import load_pretrained

PROBES = ("linear", "knn", "fewshot")
BEFORE = ("top1", "top5", "macro_f1", "nll", "ece")
SCALED = ("ece_scaled", "adaptive_ece_scaled", "brier_scaled", "nll_scaled", "temperature")
WNIDS = ("n01440764", "n03888257", "n07930864")  # tench, parachute, cup: places 0, 701 and 968


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("textures"))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory):
    return context_of(tmp_path_factory.mktemp("work"))


class Planted(SourceClassifier):
    """Says what it was told to; its data set has a val where it was told a val."""

    def __init__(self, **answers: tuple[np.ndarray, np.ndarray]) -> None:
        classes = tuple("abcd")
        self.answers = {
            split: Answers(
                logits=logits if logits.ndim == 3 else logits[None],
                labels=labels,
                ids=tuple(f"{split}/{place}" for place in range(len(labels))),
                classes=classes,
            )
            for split, (logits, labels) in answers.items()
        }
        sizes = tuple((split, len(found.labels)) for split, found in self.answers.items())
        spec = DatasetSpec(name="planted", kind="planted", root=None, fingerprint="0", classes=classes, sizes=sizes)
        self.setup = SimpleNamespace(job=SimpleNamespace(dataset_spec=spec))
        self.classes = classes

    def own(self, split: str) -> Answers:
        return self.answers[split]

    def facts(self) -> dict:
        return {"notes": {}}

    def other(self, other):
        raise AssertionError("calibration looks at the job's own data set alone")

    def corrupted(self, names, severities):
        raise AssertionError("calibration looks at the job's own data set alone")


OPENED = {
    "linear": fit_linear,
    "knn": knn_vote,
    "fewshot": fit_fewshot_probe,
    "pretrained_head": load_pretrained,
}


def drawn(n: int, seed: int, *, sharpness: float = 3.0, draws: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return sharpness * (rng.normal(size=(draws, n, 4)) + np.eye(4)[labels]), labels


@pytest.mark.parametrize("protocol", PROBES)
def test_what_rows_had_before_is_what_a_direct_computation_gives(folder, context, protocol):
    job = job_of(folder, context, protocol)
    result = getattr(classification, protocol)(job, context)
    test = OPENED[job.protocol](job, context).own("test")
    probabilities = softmax(test.logits, axis=-1)
    each = [classification_metrics(draw, test.labels) for draw in probabilities]
    assert {name: result.metrics[name] for name in BEFORE} == {
        name: float(np.mean([values[name] for values in each])) for name in BEFORE
    }
    assert result.score == result.metrics["top1"]
    mean = probabilities.mean(axis=0)
    assert np.array_equal(result.outcomes["prediction"], mean.argmax(axis=1))
    assert np.array_equal(result.outcomes["confidence"], mean.max(axis=1))
    correct = (probabilities.argmax(axis=2) == test.labels).mean(axis=0)
    assert np.array_equal(result.outcomes["outcome"], correct)


@pytest.mark.parametrize("protocol", PROBES)
def test_every_row_has_each_metric_before_and_after_the_temperature_of_val(folder, context, protocol):
    job = job_of(folder, context, protocol)
    result = getattr(classification, protocol)(job, context)
    classifier = OPENED[job.protocol](job, context)
    val, test = classifier.own("val"), classifier.own("test")
    temperatures = [fit_temperature(draw, val.labels) for draw in val.logits]
    assert len(temperatures) == (10 if protocol == "fewshot" else 1)
    after = [scaled(draw, t) for draw, t in zip(test.logits, temperatures, strict=True)]
    for name in ("ece", "adaptive_ece", "brier", "nll"):
        before = [calibration_metrics(draw, test.labels)[name] for draw in softmax(test.logits, axis=-1)]
        assert result.metrics[name] == pytest.approx(np.mean(before), abs=1e-12)
        each = [calibration_metrics(draw, test.labels)[name] for draw in after]
        assert result.metrics[f"{name}_scaled"] == pytest.approx(np.mean(each), abs=1e-12)
    assert result.metrics["temperature"] == np.mean(temperatures)
    confidence = np.mean(after, axis=0)[np.arange(len(test.labels)), result.outcomes["prediction"]]
    assert result.outcomes["confidence_scaled"] == pytest.approx(confidence, abs=1e-15)
    assert result.outcomes["confidence_scaled"].dtype == np.float64
    assert set(result.metrics) == set(CLASSIFICATION.metrics)


@pytest.mark.parametrize("draws", [1, 3])
def test_the_test_set_chooses_nothing_and_val_changes_nothing_else(draws):
    val, test = drawn(200, 0, draws=draws), drawn(100, 1, draws=draws)
    one = classified(Planted(val=val, test=test))
    other_test = classified(Planted(val=val, test=drawn(50, 2, draws=draws)))
    wrong = classified(Planted(val=val, test=(test[0], 3 - test[1])))
    assert one.metrics["temperature"] == other_test.metrics["temperature"] == wrong.metrics["temperature"]
    other_val = classified(Planted(val=drawn(200, 3, sharpness=0.3, draws=draws), test=test))
    assert other_val.metrics["temperature"] != one.metrics["temperature"]
    kept = set(one.metrics) - set(SCALED)
    assert {name: one.metrics[name] for name in kept} == {name: other_val.metrics[name] for name in kept}
    assert (one.score, one.score_low, one.score_high) == (other_val.score, other_val.score_low, other_val.score_high)
    for name in set(one.outcomes) - {"confidence_scaled"}:
        assert np.array_equal(one.outcomes[name], other_val.outcomes[name]), name


def test_scaling_mends_what_is_three_times_too_sure():
    sharp = classified(Planted(val=drawn(2000, 0, sharpness=3.0), test=drawn(2000, 1, sharpness=3.0)))
    right = classified(Planted(val=drawn(2000, 0, sharpness=1.0), test=drawn(2000, 1, sharpness=1.0)))
    assert sharp.metrics["temperature"] == pytest.approx(3.0, rel=0.15)
    assert right.metrics["temperature"] == pytest.approx(1.0, rel=0.15)
    for name in ("ece", "adaptive_ece", "brier", "nll"):
        assert sharp.metrics[f"{name}_scaled"] < sharp.metrics[name]
        assert sharp.metrics[f"{name}_scaled"] == pytest.approx(right.metrics[f"{name}_scaled"], abs=1e-6)
    assert sharp.outcomes["confidence_scaled"].mean() < sharp.outcomes["confidence"].mean()
    assert sharp.notes["temperature_on_bound"] is False


def test_a_temperature_on_its_bound_is_flagged_even_of_one_draw():
    logits, labels = drawn(60, 0, draws=2)
    logits[1] = 9 * np.eye(4)[labels]  # a val that this draw separates: the sharper the better
    result = classified(Planted(val=(logits, labels), test=drawn(40, 1, draws=2)))
    assert result.notes["temperature_on_bound"] is True
    lower = fit_temperature(logits[0], labels)
    assert result.metrics["temperature"] == pytest.approx((lower + 0.05) / 2)


@pytest.mark.parametrize("rest", [{}, {"val": (np.zeros((1, 0, 4)), np.zeros(0, dtype=np.int64))}], ids=["no", "empty"])
def test_without_a_val_there_is_no_temperature_and_all_else_stands(rest):
    result = classified(Planted(test=drawn(50, 1), **rest))
    assert set(result.metrics) == set(CLASSIFICATION.metrics) - set(SCALED)
    assert "confidence_scaled" not in result.outcomes and result.notes == {"n_test": 50}


def test_the_stored_confidences_give_the_rows_ece_before_and_after():
    result = classified(Planted(val=drawn(300, 0), test=drawn(300, 1, sharpness=20.0)))
    confidence, after = result.outcomes["confidence"], result.outcomes["confidence_scaled"]
    assert (confidence == 1).any(), "confidences that torchmetrics bins apart"
    assert diagram_error(confidence, result.outcomes["outcome"]) == pytest.approx(result.metrics["ece"], abs=1e-12)
    assert diagram_error(after, result.outcomes["outcome"]) == pytest.approx(result.metrics["ece_scaled"], abs=1e-12)


def test_draws_are_fitted_once_for_val_and_test(folder, context):
    phases = []
    counting = replace(context, progress=lambda phase, done, total: phases.append(phase))
    classification.fewshot(job_of(folder, context, "fewshot", draws=3), counting)
    assert phases.count("fewshot") == 3


def test_fine_tuning_passes_over_val_once_more_and_no_more(folder, tmp_path):
    passes = []
    context = context_of(tmp_path, progress=lambda phase, done, total: passes.append(phase) if done == total else None)
    budget = Budget(images_seen=12, trials=1)
    result = classification.finetune(
        job_of(folder, context, "finetune", size=32, budget=budget, batch_size=12), context
    )
    assert (passes.count("scoring val"), passes.count("scoring test")) == (2, 1)
    assert set(result.metrics) == set(CLASSIFICATION.metrics)


def test_a_pretrained_head_is_calibrated_among_all_its_classes_where_there_is_a_val(tmp_path):
    context = context_of(tmp_path)
    data = write_folder(tmp_path / "set", WNIDS, {"train": 1, "val": 3, "test": 2})
    job = job_of(data, context, "pretrained_head", size=64, budget=Budget(max_val=6))
    result = classification.pretrained_head(job, context)
    val = OPENED[job.protocol](job, context).own("val")
    assert len(val.labels) == 6, "the budget caps val"
    labels = np.array([wnids().index(WNIDS[label]) for label in val.labels])
    assert result.metrics["temperature"] == fit_temperature(val.logits[0], labels)


def test_a_pretrained_head_on_test_pictures_alone_has_no_temperature(tmp_path):
    context = context_of(tmp_path)
    data = write_folder(tmp_path / "set", WNIDS, {"test": 2}) / "test"
    result = classification.pretrained_head(job_of(data, context, "pretrained_head", size=64), context)
    assert set(result.metrics) == set(CLASSIFICATION.metrics) - set(SCALED)
    assert result.notes["n_test"] == 6 and "confidence_scaled" not in result.outcomes


def test_the_store_has_every_calibration_column_typed(folder, context):
    job = job_of(folder, context, "knn")
    run_job(job, context)
    store = ResultStore(context.results_dir)
    (row,) = store.load().to_dict("records")
    for name in CLASSIFICATION.metrics:
        assert BY_NAME[name].dtype == "float64" and isinstance(row[name], float) and np.isfinite(row[name]), name
    assert row["temperature_on_bound"] in (True, False) and BY_NAME["temperature_on_bound"].dtype == "bool"
    assert row["task_version"] == 1 and row["n_val"] == 3 * COUNTS["val"]
    assert len(store.outcomes(job.id)["confidence_scaled"]) == row["n_test"]
