"""Dense shift: a detector trained once on one data set, scored on others of the same categories."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from classification_jobs import context_of, job_of, other_of
from data_helpers import coco_content, coco_folder
from dense_jobs import LIGHT, SCENES, dense_job

from bob.core.errors import DataError, SuiteError
from bob.core.registry import load_reference
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.annotations import Detections
from bob.jobs.context import Context
from bob.jobs.job import Budget, Job
from bob.jobs.plan import expand
from bob.jobs.row import BY_NAME
from bob.jobs.run import run_job
from bob.jobs.suite import check_suite
from bob.metrics.detection_metrics import coco_scores
from bob.metrics.resampling import RESAMPLES
from bob.store import ResultStore
from bob.tasks.dense.detection import detection_protocols as detection
from bob.tasks.dense.detection.detection_spec import DETECTION
from bob.tasks.dense.generalization import dense_generalization_protocols as dense_generalization
from bob.tasks.dense.generalization.dense_generalization_protocols import ShiftedDetectionWork
from bob.tasks.dense.generalization.dense_generalization_spec import DENSE_GENERALIZATION, METRICS
from bob.tasks.setup import Setup

NIGHT, FOG = (f"{SCENES},domain={domain}" for domain in ("night", "fog"))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return context_of(tmp_path_factory.mktemp("dense_generalization"))


@pytest.fixture(scope="module")
def job_with(context: Context) -> Callable[..., Job]:
    def build(shifts=(NIGHT, FOG), protocol: str = "frozen", **settings) -> Job:
        others = [other_of(text, context, "shifts") for text in shifts]
        own = {"budget": Budget(images_seen=96, trials=1), "size": 64, "batch_size": 4, "lrs": (2e-3,)}
        own |= {"task": DENSE_GENERALIZATION, "others": others, **LIGHT["detection"]}
        return job_of(SCENES, context, protocol, **{**own, **settings})

    return build


@pytest.fixture(scope="module")
def found(context, job_with):
    return dense_generalization.frozen(job_with(), context)


def test_the_score_is_the_mean_ap_over_shifts_and_the_detector_that_of_detection(context, job_with, found):
    per_shift = json.loads(found.notes["per_shift"])["shifts"]
    assert set(per_shift) == {"scenes-night", "scenes-fog"} and set(found.metrics) == set(METRICS)
    assert found.score == found.metrics["mean_box_ap"] == pytest.approx(np.mean(list(per_shift.values())), abs=1e-6)
    known = detection.frozen(job_with(task=DETECTION, shifts=()), context)
    assert found.metrics["source_box_ap"] == known.metrics["box_ap"] > 0
    assert found.metrics["relative_drop"] == pytest.approx(1 - found.score / known.score)
    assert found.replicates.shape == (RESAMPLES,)
    assert found.score_low <= found.score <= found.score_high


def test_each_shifts_ap_and_replicates_are_those_of_its_outcomes(context, job_with, found):
    with ExitStack() as stack:
        work = ShiftedDetectionWork(Setup.of(job_with(), context), stack, frozen=True)
        pictures = {name: work.pictures[split] for split, name in work.shifts.items()}
    rows = dict(zip(found.outcomes["sample_id"], zip(*(found.outcomes[k] for k in FOUND), strict=True), strict=True))
    assert len(rows) == 2 * 6
    scores = []
    for name, own in pictures.items():
        order = sorted(range(len(own)), key=own.ids.__getitem__)
        predicted = [as_detections(*rows[f"{name}/{own.ids[index]}"]) for index in order]
        truth = [own.instances(index) for index in order]
        scores.append(coco_scores(truth, predicted, own.sizes[order], classes=len(own.classes), kind="box"))
    assert found.score == pytest.approx(np.mean([each.metrics["box_ap"] for each in scores]))
    np.testing.assert_allclose(found.replicates, np.mean([each.replicates for each in scores], axis=0))


def test_the_row_counts_the_own_pictures_and_names_the_shifts(context, job_with):
    row = run_job(job_with((NIGHT,)), context)
    assert (row["status"], row["metric"], row["n_test"], row["n_train"]) == ("ok", "mean_box_ap", 6, 12)
    assert row["smoke"] and json.loads(row["others"])[0][:2] == ["shifts", "scenes-night"]
    assert not [name for name in row if "shift " in name]
    assert len(ResultStore(context.results_dir).outcomes(row["job_id"])) == 6


@pytest.fixture
def coco_work(context, tmp_path, monkeypatch) -> Callable[..., ShiftedDetectionWork]:
    """A detector that finds everything, of cats and dogs, on a shift whose file is given."""
    coco_folder(tmp_path / "own", {split: coco_content(3) for split in ("train", "val", "test")})
    stack = ExitStack()

    def build(shift: dict[str, list[dict]], *, wrong: bool = False) -> ShiftedDetectionWork:
        coco_folder(tmp_path / "shift", {"train": only_dogs(), "val": only_dogs(), "test": shift})
        others = [other_of(tmp_path / "shift", context, "shifts")]
        job = dense_job("detection", context, data=tmp_path / "own")
        job = replace(job, task="dense_generalization", others=tuple(others))
        work = ShiftedDetectionWork(Setup.of(job, context), stack, frozen=True)
        monkeypatch.setattr(work, "detections", lambda model, split: everything(work, split, wrong=wrong))
        return work

    with stack:
        yield build


FOUND = ("boxes", "scores", "labels")


def as_detections(boxes: list, scores: list, labels: list) -> Detections:
    return Detections(
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        scores=np.array(scores, dtype=float),
        labels=np.array(labels, dtype=np.int64),
    )


def everything(work: ShiftedDetectionWork, split: str, *, wrong: bool) -> list[Detections]:
    """Return every object of every picture, by its name in the detector's own categories; or by another's."""
    pictures = work.pictures[split]
    objects = [pictures.instances(index) for index in range(len(pictures))]
    named = [[work.classes.index(pictures.classes[label].lower()) for label in each.labels] for each in objects]
    labels = [[1 - label if wrong else label for label in each] for each in named]
    return [as_detections(each.boxes, np.ones(len(each)), own) for each, own in zip(objects, labels, strict=True)]


def only_dogs(name: str = "Dog") -> dict[str, list[dict]]:
    content = coco_content(4)
    content["categories"] = [{"id": 7, "name": name}]
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] == 7]
    return content


def test_categories_are_matched_by_name_and_those_that_a_shift_lacks_do_not_count(coco_work):
    tested = coco_work(only_dogs()).test(None)
    assert tested["metrics"] == {"mean_box_ap": 1.0, "source_box_ap": 1.0, "relative_drop": 0.0}
    assert {label for labels in tested["outcomes"]["labels"] for label in labels} == {1}, "as the detector numbers it"


def test_a_dog_called_a_cat_is_wrong(coco_work):
    assert coco_work(only_dogs(), wrong=True).test(None)["metrics"]["mean_box_ap"] == 0.0


def test_a_category_that_the_detector_does_not_know_is_an_error_before_training(context, job_with, tmp_path):
    coco_folder(tmp_path / "own", {split: coco_content(2) for split in ("train", "val", "test")})
    coco_folder(tmp_path / "wolves", {split: only_dogs("wolf") for split in ("train", "val", "test")})
    others = [other_of(tmp_path / "wolves", context, "shifts")]
    job = replace(dense_job("detection", context, data=tmp_path / "own"), others=tuple(others))
    with pytest.raises(DataError, match=r"shift .*wolves' of 'own': the classifier has no class for 1 .* 'wolf'"):
        dense_generalization.frozen(replace(job, task="dense_generalization"), context)


def test_a_shift_without_objects_is_an_error_before_training(coco_work):
    empty = {**only_dogs(), "annotations": []}
    with pytest.raises(DataError, match="the split test has no object: its file has no annotation"):
        coco_work(empty)


SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.random]
datasets: [scenes]
tasks:
  - task: dense_generalization
    shifts: ["scenes:domain=night"]
    protocols: [frozen, finetune]
"""


def test_a_suite_plans_it_and_refuses_shifts_without_boxes_or_none_at_all(tmp_path):
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))

    def plan(text: str):
        source = parse_yaml(text, name="mine.yaml")
        return expand(check_suite(source), source, settings)

    jobs = plan(SUITE).jobs
    assert [job.protocol for job in jobs] == ["frozen", "finetune"] and all(job.others for job in jobs)
    with pytest.raises(SuiteError, match=r"mine.yaml:7: shift 'scenes:unseen' has a class .*: expected boxes"):
        plan(SUITE.replace("domain=night", "unseen"))
    with pytest.raises(SuiteError, match="needs data sets beside its own"):
        plan(SUITE.replace('    shifts: ["scenes:domain=night"]\n', ""))


def test_the_task_as_data_agrees_with_the_columns_and_detection():
    assert set(METRICS) | {"per_shift"} <= set(BY_NAME)
    for name, base in DETECTION.protocols.items():
        protocol = DENSE_GENERALIZATION.protocols[name]
        assert callable(load_reference(protocol.run)) and protocol.run.endswith(f":{name}")
        assert (protocol.params, protocol.budget, protocol.epochs) == (base.params, base.budget, base.epochs)
