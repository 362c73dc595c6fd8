"""Out-of-distribution detection: one pass, ten scores, a classifier trained once, intervals that pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from classification_jobs import CONTROL, COUNTS, NAMES, context_of, job_of, other_of, write_folder
from data_helpers import coco_content, coco_folder, mask_folders
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from bob.core.errors import ConfigError, DataError, NumericalError, SuiteError
from bob.core.registry import load_reference
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.transforms import eval_transform
from bob.jobs.context import Context
from bob.jobs.job import Budget, Job
from bob.jobs.needs import needs_of
from bob.jobs.plan import Plan, expand
from bob.jobs.row import BY_NAME
from bob.jobs.run import base_row, run_job
from bob.jobs.suite import check_suite
from bob.metrics.interval import mean_interval
from bob.metrics.ood import ood_metrics
from bob.probes.odin import odin_scores
from bob.probes.post_hoc_scores import ODIN, post_hoc_names
from bob.reporting.paired import Run, pair
from bob.reporting.select import find_differences
from bob.store import ResultStore
from bob.tasks.classification import classification_finetune
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification import feature_classifiers as classifier_features
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.classification.feature_classifiers import fit_linear
from bob.tasks.ood.detection import ood_detection_protocols as ood_detection
from bob.tasks.ood.detection.ood_detection_result import ScoredSet, judged
from bob.tasks.ood.detection.ood_detection_spec import METRICS, OOD_DETECTION
from bob.tasks.result import TaskResult

N_IN, N_CELLS, N_STREETS = len(NAMES) * COUNTS["test"], 7, 5
Made = tuple[Path, Context, list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Textures of three kinds; beside them noise as a COCO folder, `cells`, and as a mask folder, `streets`."""
    root = tmp_path_factory.mktemp("ood")
    write_folder(root / "textures")
    coco_folder(root / "cells", {"train": coco_content(2), "val": coco_content(2), "test": coco_content(N_CELLS)})
    mask_folders(root / "streets", {"train": 2, "val": 2, "test": N_STREETS})
    phases: list[str] = []
    return root, context_of(root, progress=lambda phase, done, total: phases.append(phase)), phases


@pytest.fixture(scope="module")
def job_with(made: Made) -> Callable[..., Job]:
    """Make a job on textures whose near set is `cells` and whose far one is `streets`."""
    root, context, _ = made
    others = [other_of(root / name, context, role) for name, role in (("cells", "near"), ("streets", "far"))]

    def build(protocol: str = "linear", **settings) -> Job:
        return job_of(root / "textures", context, protocol, **{"task": OOD_DETECTION, "others": others, **settings})

    return build


@pytest.fixture(scope="module")
def found(made: Made, job_with: Callable[..., Job]) -> TaskResult:
    return ood_detection.linear(job_with(), made[1])


def scores_of(result: TaskResult, name: str) -> np.ndarray:
    """Return the primary score of one set's pictures."""
    ids = result.outcomes["sample_id"]
    return result.outcomes["ood_score"][[picture.startswith(f"{name}/") for picture in ids]]


def auroc(result: TaskResult, name: str) -> float:
    inside, outside = scores_of(result, "textures"), scores_of(result, name)
    return float(roc_auc_score(np.repeat([1, 0], [len(inside), len(outside)]), np.concatenate([inside, outside])))


def test_one_pass_over_each_set_gives_every_score(made, found):
    phases = made[2]
    assert [phases.count(f"features of {split}") for split in ("train", "val")] == [2, 1]
    assert phases.count("features of test") == 3, "its own, cells and streets"
    assert set(found.metrics) == set(METRICS) - {"auroc_odin"}
    assert not any(phase.startswith("odin") for phase in phases)


def test_textures_are_told_from_noise_in_folders_of_boxes_and_of_masks(found):
    assert found.score > 0.9
    assert found.metrics["auroc_energy"] > 0.9 and found.metrics["auroc_mahalanobis"] > 0.9
    assert found.score_low <= found.score <= found.score_high
    assert found.metrics["top1"] > 0.6


def test_the_primary_score_is_the_mean_over_sets_of_scikit_learns_auroc(found):
    each = {name: auroc(found, name) for name in ("cells", "streets")}
    assert found.score == found.metrics["auroc"] == found.metrics["auroc_msp"]
    assert found.score == pytest.approx(np.mean(list(each.values())), abs=1e-12)
    assert found.metrics["auroc_near"] == pytest.approx(each["cells"], abs=1e-12)
    assert found.metrics["auroc_far"] == pytest.approx(each["streets"], abs=1e-12)
    for metric in ("aupr_in", "aupr_out", "fpr95"):
        own = [ood_metrics(scores_of(found, "textures"), scores_of(found, name))[metric] for name in each]
        assert found.metrics[metric] == pytest.approx(np.mean(own), abs=1e-12)


def test_every_score_and_set_stands_in_the_row_with_its_number_of_pictures(found):
    per_set = json.loads(found.notes["per_set"])
    assert set(per_set) == set(post_hoc_names())
    for name, sets in per_set.items():
        assert {key: value["n"] for key, value in sets.items()} == {"cells": N_CELLS, "streets": N_STREETS}
        assert all(set(value) == {"auroc", "aupr_in", "aupr_out", "fpr95", "n"} for value in sets.values())
        mean = np.mean([value["auroc"] for value in sets.values()])
        assert found.metrics[f"auroc_{name}"] == pytest.approx(mean, abs=1e-6)


def test_every_picture_of_every_set_has_its_outcome(found):
    ids, inside = found.outcomes["sample_id"], found.outcomes["inside"]
    assert len(set(ids)) == len(ids) == N_IN + N_CELLS + N_STREETS
    assert inside.dtype == bool and inside.sum() == N_IN
    assert all(picture.startswith("textures/") == known for picture, known in zip(ids, inside, strict=True))
    assert found.notes["n_test"] == N_IN
    assert found.notes["k_clipped"] is True, "there are 36 training pictures and the 50th neighbour was asked for"


def test_msp_is_the_confidence_of_the_classifier_of_classification(made, job_with, found):
    job = job_with()
    probe = fit_linear(job, made[1])
    own = softmax(probe.own("test").logits[0], axis=1).max(axis=1)
    np.testing.assert_allclose(scores_of(found, "textures"), own, atol=1e-6)
    answers = probe.other(job.others[0])
    np.testing.assert_allclose(scores_of(found, "cells"), softmax(answers.logits[0], axis=1).max(axis=1), atol=1e-6)
    assert set(answers.labels) == {-1}, "what else is known of the pictures is not looked at"


def test_the_scores_are_fitted_on_train(made, job_with):
    job = job_with(method="knn", budget=Budget(max_train=12))
    result, probe = ood_detection.linear(job, made[1]), fit_linear(job, made[1])
    train, inside = (normalize(probe.own(split).features.astype(np.float64)) for split in ("train", "test"))
    # Of 12 training pictures the 50th neighbour is the farthest.
    farthest = np.linalg.norm(inside[:, None] - train, axis=2).max(axis=1)
    assert len(train) == 12
    np.testing.assert_allclose(scores_of(result, "textures"), -farthest, atol=1e-6)


def test_the_classifier_is_trained_once_for_both_tasks_and_the_numbers_are_the_same(
    made, job_with, found, tmp_path, monkeypatch
):
    root, calls, fit = made[0], [], classifier_features.fit_path
    monkeypatch.setattr(classifier_features, "fit_path", lambda *args, **kw: calls.append(1) or fit(*args, **kw))
    context = context_of(tmp_path)
    first = job_of(root / "textures", context, "linear", task=CLASSIFICATION)
    known = classification.linear(replace(first, uses=("classifier", *first.uses)), context)
    again = ood_detection.linear(job_with(), context)
    assert len(calls) == 1
    assert again.metrics == found.metrics and again.metrics["top1"] == known.metrics["top1"]
    assert np.array_equal(again.outcomes["ood_score"], found.outcomes["ood_score"])
    assert np.array_equal(again.replicates, found.replicates)


def test_fine_tuning_trains_once_for_both_tasks_and_gives_every_score(made, job_with, monkeypatch):
    root, context, _ = made
    calls, search = [], classification_finetune.Finetune.search
    monkeypatch.setattr(
        classification_finetune.Finetune, "search", lambda self, name: calls.append(name) or search(self, name)
    )
    settings = {"size": 32, "budget": Budget(images_seen=64, trials=1)}
    first = job_of(root / "textures", context, "finetune", **settings)
    known = classification.finetune(replace(first, uses=("classifier", *first.uses)), context)
    result = ood_detection.finetune(job_with("finetune", **settings), context)
    assert len(calls) == 1
    assert result.metrics["top1"] == known.metrics["top1"]
    assert set(result.metrics) == set(METRICS) - {"auroc_odin"}
    assert result.score == pytest.approx(np.mean([auroc(result, name) for name in ("cells", "streets")]), abs=1e-12)
    assert known.shared_s == result.shared_s == 0 and result.notes["n_train"] == len(NAMES) * COUNTS["train"]


def test_odin_goes_over_the_pictures_themselves_where_it_is_asked_for(made, job_with):
    context = made[1]
    budget = Budget(max_train=12, max_val=6, max_test=3)
    job = job_with(size=32, budget=budget, odin=True, method=ODIN)
    result = ood_detection.linear(job, context)
    assert set(result.metrics) == set(METRICS)
    assert result.score == result.metrics["auroc_odin"]
    probe = fit_linear(job, context)
    pictures = probe.setup.other_pictures(job.others[1])
    images = torch.stack([eval_transform(job.input)(pictures.load(index)) for index in range(len(pictures))])
    expected = odin_scores(probe.module(), images, std=job.input.std)
    assert len(pictures) == 3
    np.testing.assert_allclose(scores_of(result, "streets"), expected.numpy(), rtol=1e-6)
    values = result.outcomes["ood_score"]
    assert (values != values.astype(np.float32)).any(), "at T = 1000 float32 would make ties"


def test_a_random_control_runs_and_pairs_with_the_pretrained_one(made, job_with, found):
    control = ood_detection.linear(job_with(backbone=CONTROL, size=32), made[1])
    assert 0 <= control.score <= 1

    def run(result: TaskResult) -> Run:
        frame = pd.DataFrame(result.outcomes)
        frame.attrs["replicates"] = result.replicates
        return Run(result.score, frame)

    paired = pair({"pretrained": [run(found)], "random": [run(control)]})
    assert paired.reason is None and not paired.missing
    assert paired.samples == N_IN + N_CELLS + N_STREETS
    assert paired.covariance == pytest.approx(np.cov([found.replicates, control.replicates]))


def test_the_row_names_the_sets_and_is_kept_apart_from_rows_on_others(made, job_with, found):
    context, job = made[1], job_with()
    row = run_job(job, context)
    alone = run_job(replace(job, others=job.others[:1]), context)
    assert row["status"] == "ok" and row["metric"] == "auroc" and row["score"] == found.score
    assert [entry[:2] for entry in json.loads(row["others"])] == [["far", "streets"], ["near", "cells"]]
    assert "auroc_far" not in alone and alone["auroc_near"] == alone["auroc"] == row["auroc_near"]
    assert list(find_differences([row, alone])) == ["others"]
    kept = ResultStore(context.results_dir).outcomes(job.id)
    assert np.array_equal(kept.attrs["replicates"], found.replicates)
    assert kept["inside"].sum() == N_IN


def scored(name: str, role: str, values: list[float]) -> ScoredSet:
    ids = tuple(str(index) for index in range(len(values)))
    return ScoredSet(name=name, role=role, ids=ids, scores={"msp": np.array(values)})


def test_the_method_says_which_score_is_the_primary_one_and_changes_no_other_number():
    inside, outside = scored("a", "inside", [3.0, 1.0]), scored("b", "near", [2.0, 0.0, 1.0])
    inside.scores["knn"], outside.scores["knn"] = np.array([5.0, 6.0]), np.array([7.0, 1.0, 5.5])
    by_msp, by_knn = (judged(inside, [outside], method=name, top1=1.0, notes={}) for name in ("msp", "knn"))
    assert by_msp.score == by_msp.metrics["auroc_msp"] == pytest.approx(4.5 / 6)
    assert by_knn.score == by_knn.metrics["auroc_knn"] == pytest.approx(3 / 6)
    assert by_knn.notes == by_msp.notes and by_knn.metrics["auroc_msp"] == by_msp.score
    assert list(by_knn.outcomes["ood_score"]) == [5.0, 6.0, 7.0, 1.0, 5.5]


def test_the_order_in_which_sets_are_named_changes_no_number(made, job_with):
    inside = scored("a", "inside", [3.0, 1.0, 2.0])
    sets = [scored("b", "near", [0.0, 2.5, 1.0]), scored("c", "far", [2.0, 0.5, 1.5])]
    one, other = (judged(inside, order, method="msp", top1=1.0, notes={}) for order in (sets, sets[::-1]))
    assert np.array_equal(one.replicates, other.replicates) and len(set(one.replicates)) > 1
    assert one.metrics == other.metrics and one.notes == other.notes
    job = job_with()
    rows = [base_row(each, made[1]) for each in (job, replace(job, others=job.others[::-1]))]
    assert rows[0]["others"] == rows[1]["others"]


def test_perfect_separation_of_a_few_pictures_is_not_called_certain():
    inside, outside = scored("a", "inside", [3.0, 4.0, 5.0, 6.0]), scored("b", "near", [0.0, 1.0, 2.0])
    result = judged(inside, [outside], method="msp", top1=1.0, notes={})
    assert (result.score, result.score_high) == (1.0, 1.0)
    assert result.score_low == pytest.approx(mean_interval([1, 1, 1])[0]) and result.score_low < 0.5


def test_each_set_counts_the_same_whatever_its_size():
    inside, far = scored("a", "inside", [2.0, 2.0]), scored("c", "far", [3.0] * 9)
    result = judged(inside, [scored("b", "near", [1.0]), far], method="msp", top1=1.0, notes={})
    assert result.score == 0.5 and (result.metrics["auroc_near"], result.metrics["auroc_far"]) == (1.0, 0.0)


def test_an_empty_set_and_a_score_that_is_not_finite_are_errors():
    inside = scored("a", "inside", [1.0, 2.0])
    for values, error in (([], DataError), ([np.nan], NumericalError)):
        with pytest.raises(error):
            judged(inside, [scored("b", "near", values)], method="msp", top1=1.0, notes={})


def test_the_task_as_data_agrees_with_the_scores_the_columns_and_classification():
    assert {f"auroc_{name}" for name in (*post_hoc_names(), ODIN)} <= set(METRICS)
    assert set(METRICS) | {"per_set", "others"} <= set(BY_NAME)
    for name, protocol in OOD_DETECTION.protocols.items():
        base = CLASSIFICATION.protocols[name]
        assert callable(load_reference(protocol.run)) and protocol.run.endswith(f":{name}")
        assert issubclass(protocol.params, base.params)
        assert (protocol.classifier, protocol.budget, protocol.epochs) == (base.classifier, base.budget, base.epochs)
        assert "classifier" in protocol.uses


SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.random]
datasets: [{root}/textures]
tasks:
  - task: ood_detection
    near: [{root}/cells]
    far: [{root}/streets]
    protocols: [linear, finetune]
  - task: classification
    protocols: [linear, knn]
"""


@pytest.fixture
def plan(made, tmp_path) -> Callable[[str], Plan]:
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))

    def expanded(text: str) -> Plan:
        source = parse_yaml(text.format(root=made[0]), name="mine.yaml")
        return expand(check_suite(source), source, settings)

    return expanded


def test_a_suite_plans_jobs_that_share_features_and_classifier(plan):
    jobs = {(job.task, job.protocol): job for job in plan(SUITE).jobs}
    detection, known = jobs["ood_detection", "linear"], jobs["classification", "linear"]
    assert [(other.role, other.name) for other in detection.others] == [("near", "cells"), ("far", "streets")]
    keys = [{need.key for need in needs_of(job)} for job in (detection, known)]
    assert keys[1] <= keys[0] and len(keys[1]) == 3, "features, classifier and profile"
    assert len(keys[0]) == 5, "and the features of both other sets"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("far: [{root}/streets]", "far: [{root}/textures]", "under 'far' has the content of the task's own"),
        ("far: [{root}/streets]", "far: [{root}/cells]", "under 'far' has the content of near"),
        ("far: [{root}/streets]", "shifts: [{root}/streets]", "has no use for 'shifts'"),
        ("near: [{root}/cells]\n    far: [{root}/streets]", "datasets: [{root}/textures]", "needs data sets beside"),
        ("[linear, finetune]", "[{{protocol: linear, params: {{method: odin}}}}]", "'odin' needs ODIN's own pass"),
        ("[linear, finetune]", "[{{protocol: linear, params: {{method: best}}}}]", "expected one of msp, max_logit"),
    ],
)
def test_sets_and_methods_that_make_no_sense_are_refused_while_planning(plan, old, new, said):
    assert old in SUITE
    with pytest.raises(SuiteError, match=said) as caught:
        plan(SUITE.replace(old, new))
    assert "mine.yaml:" in str(caught.value)


def test_odin_as_the_primary_score_goes_with_its_pass():
    protocol = OOD_DETECTION.protocols["linear"]
    assert dict(protocol.resolve({"method": "odin", "odin": "true"}))["odin"] is True
    with pytest.raises(ConfigError, match="odin"):
        protocol.resolve({"method": "odin"})
