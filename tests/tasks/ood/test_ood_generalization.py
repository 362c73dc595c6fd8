"""Generalization: a classifier as it is on shifted and corrupted pictures, each shift counting the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from classification_jobs import CONTROL, context_of, job_of, other_of, write_folder
from data_helpers import coco_content, coco_folder

from bob.backbones import catalogue
from bob.core.errors import ConfigError, DataError, NumericalError, SuiteError, UnknownNameError
from bob.core.registry import load_reference
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.corruptions import BENCHMARK, CORRUPTIONS, EXTRA, chosen_corruptions
from bob.data.imagenet import wnids
from bob.jobs.context import Context
from bob.jobs.estimate import UNKNOWN_MACHINE, estimate_s
from bob.jobs.job import Budget, Job, OtherData
from bob.jobs.needs import corrupted_features_need, needs_of, other_features_need
from bob.jobs.plan import Plan, expand
from bob.jobs.row import BY_NAME
from bob.jobs.run import run_job
from bob.jobs.suite import check_suite
from bob.metrics.interval import mean_interval
from bob.metrics.resampling import RESAMPLES
from bob.metrics.robustness import ALEXNET_MEAN_ERROR
from bob.reporting.paired import Run, pair
from bob.store import ResultStore
from bob.tasks.classification import classification_finetune
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.classification.feature_classifiers import fit_linear
from bob.tasks.ood.detection.ood_detection_spec import OOD_DETECTION
from bob.tasks.ood.generalization import ood_generalization_protocols as ood_generalization
from bob.tasks.ood.generalization.ood_generalization_result import (
    SEVERAL,
    Corrupted,
    ScoredSet,
    generalised,
    mean_replicates,
    scored_set,
)
from bob.tasks.ood.generalization.ood_generalization_spec import METRICS, OOD_GENERALIZATION, CorruptionParams
from bob.tasks.result import TaskResult

SCENES = "scenes:train=120,val=40,test=40"
NIGHT, FOG = (f"{SCENES},domain={domain}" for domain in ("night", "fog"))
HARM = ("gaussian_noise", "defocus_blur", "contrast", "jpeg_compression")
Made = tuple[Context, list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("generalization")
    phases: list[str] = []
    return context_of(root, progress=lambda phase, done, total: phases.append(f"{phase} {done}")), phases


@pytest.fixture(scope="module")
def job_with(made: Made) -> Callable[..., Job]:
    """Make a job on clean scenes, shifted to two domains and corrupted."""
    others = [other_of(text, made[0], "shifts") for text in (NIGHT, FOG)]

    def build(protocol: str = "linear", **settings) -> Job:
        own = {"task": OOD_GENERALIZATION, "others": others, "corruptions": HARM}
        return job_of(SCENES, made[0], protocol, **{**own, **settings})

    return build


@pytest.fixture(scope="module")
def found(made: Made, job_with: Callable[..., Job]) -> TaskResult:
    return ood_generalization.linear(job_with(), made[0])


def sets_of(result: TaskResult) -> list[str]:
    return sorted({picture.split("/")[0] for picture in result.outcomes["sample_id"]})


def outcomes_of(result: TaskResult, name: str) -> np.ndarray:
    chosen = [picture.startswith(f"{name}/") for picture in result.outcomes["sample_id"]]
    return result.outcomes["outcome"][chosen]


def test_a_trained_probe_does_worse_the_stronger_the_corruption(found):
    severity = json.loads(found.notes["per_shift"])["severity"]
    values = [severity[str(level)] for level in range(1, 6)]
    assert values == sorted(values, reverse=True) and values[0] > values[4] + 0.05
    assert found.metrics["source_top1"] > values[0]
    assert found.metrics["relative_drop"] > 0


def test_the_score_is_the_mean_over_shifts_and_all_corruptions_are_one_of_them(found):
    per_shift = json.loads(found.notes["per_shift"])
    shifts = [outcomes_of(found, f"scenes-{domain}").mean() for domain in ("night", "fog")]
    assert [per_shift["shifts"][f"scenes-{domain}"] for domain in ("night", "fog")] == pytest.approx(shifts, abs=1e-6)
    by_corruption = [value for by in per_shift["corruptions"].values() for value in by.values()]
    assert len(by_corruption) == 5 * len(HARM) and set(per_shift["corruptions"]) == set(HARM)
    assert found.metrics["shift_accuracy"] == pytest.approx(np.mean(shifts))
    assert found.metrics["corruption_accuracy"] == pytest.approx(np.mean(by_corruption), abs=1e-6)
    assert found.metrics["mce"] == pytest.approx(1 - found.metrics["corruption_accuracy"])
    assert found.score == found.metrics["mean_accuracy"]
    assert found.score == pytest.approx((sum(shifts) + found.metrics["corruption_accuracy"]) / 3)
    assert set(found.metrics) == set(METRICS) - {"mce_alexnet"}
    assert found.score_low < found.score < found.score_high


def test_the_source_accuracy_is_top1_of_classification(made, found):
    known = classification.linear(job_of(SCENES, made[0], "linear"), made[0])
    assert found.metrics["source_top1"] == known.metrics["top1"]
    assert found.hparams == known.hparams


def test_every_picture_of_every_shift_has_its_outcome_and_those_under_corruptions_their_share(found):
    ids, outcomes = found.outcomes["sample_id"], found.outcomes
    assert len(set(ids)) == len(ids) == 3 * 40 and found.notes["n_test"] == 40
    pooled = np.array([picture.startswith("scenes+corruptions/") for picture in ids])
    assert pooled.sum() == 40
    assert (outcomes["prediction"][pooled] == SEVERAL).all() and (outcomes["prediction"][~pooled] >= 0).all()
    right = outcomes["prediction"] == outcomes["label"]
    assert np.array_equal(outcomes["outcome"][~pooled], right[~pooled].astype(float))
    shares = outcomes["outcome"][pooled] * 5 * len(HARM)
    np.testing.assert_allclose(shares, shares.round(), atol=1e-9)
    assert found.score == pytest.approx(np.mean([outcomes_of(found, name).mean() for name in sets_of(found)]))


def test_corrupted_pictures_are_passed_once_for_every_probe(made, job_with, found):
    context, phases = made
    before = len(phases)
    again = ood_generalization.knn(job_with("knn"), context)
    fewshot = ood_generalization.fewshot(job_with("fewshot", draws=3), context)
    assert not any(phase.startswith("features of") for phase in phases[before:])
    assert set(again.metrics) == set(fewshot.metrics) == set(found.metrics)
    assert set(fewshot.outcomes["outcome"].round(6)) > {0.0, 1.0}, "shares of three draws"
    assert fewshot.score == pytest.approx(np.mean([outcomes_of(fewshot, name).mean() for name in sets_of(fewshot)]))
    words = job_with("knn", corruptions=tuple(reversed(HARM)), severities=(5, 4, 3, 2, 1))
    assert corrupted_features_need(words).key == corrupted_features_need(job_with()).key


def test_a_random_control_pairs_with_the_pretrained_one(made, job_with, found):
    settings = {"backbone": CONTROL, "corruptions": ("contrast",), "severities": (3,), "size": 32}
    control = ood_generalization.linear(job_with(**settings), made[0])

    def run(result: TaskResult) -> Run:
        frame = pd.DataFrame(result.outcomes)
        frame.attrs["replicates"] = result.replicates
        return Run(result.score, frame)

    paired = pair({"pretrained": [run(found)], "random": [run(control)]})
    assert paired.reason is None and not paired.missing and paired.samples == 120


def test_the_row_has_every_number_and_the_store_the_replicates(made, job_with, found):
    row = run_job(job_with(), made[0])
    assert (row["status"], row["metric"], row["score"]) == ("ok", "mean_accuracy", found.score)
    assert [entry[:2] for entry in json.loads(row["others"])] == [["shifts", "scenes-fog"], ["shifts", "scenes-night"]]
    assert row["per_shift"] == found.notes["per_shift"] and "mce_alexnet" not in row
    kept = ResultStore(made[0].results_dir).outcomes(row["job_id"])
    assert np.array_equal(kept.attrs["replicates"], found.replicates)


class Planted(SourceClassifier):
    """Answers as it is told: the prediction for each picture of each set."""

    def __init__(self, job: Job, classes: tuple[str, ...], answers: dict[str, Answers]) -> None:
        self.setup, self.classes, self.answers = SimpleNamespace(job=job), classes, answers

    def own(self, split: str) -> Answers:
        return self.answers[split]

    def facts(self) -> dict:
        return {"notes": {}}

    def other(self, other: OtherData) -> Answers:
        return self.answers[other.name]

    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[tuple[str, int, Answers]]:
        for name in names:
            for severity in severities:
                yield name, severity, self.answers[f"{name}-{severity}"]


def answers_of(scores: list[list[float]], labels: list[int], classes: Sequence[str], **more) -> Answers:
    ids = tuple(f"test/{number}" for number in range(len(labels)))
    return Answers(logits=np.array([scores]), labels=np.array(labels), ids=ids, classes=tuple(classes), **more)


ANT, BEE, CAT = [3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 2.0, 3.0]
INSECTS = ("ant", "bee", "cat")


@pytest.fixture
def planted(job_with) -> Callable[..., TaskResult]:
    """Score a planted classifier of three classes, on shifts and corruptions as named by its answers."""

    def build(answers: dict[str, Answers], classes: tuple[str, ...] = INSECTS, **settings) -> TaskResult:
        shifts = [name for name in answers if name != "test" and "-" not in name]
        others = [OtherData(role="shifts", name=name, text=name, fingerprint=name) for name in shifts]
        job = job_with(others=others, **{"corruptions": ("none",), **settings})
        return ood_generalization.on_shifts(Planted(job, classes, answers))

    return build


def test_accuracies_are_those_of_a_count_by_hand(planted):
    result = planted(
        {
            "test": answers_of([ANT, BEE, CAT, CAT], [0, 1, 2, 1], INSECTS),
            "sketch": answers_of([ANT, ANT, BEE, CAT, CAT], [0, 1, 1, 2, 0], INSECTS),
            "night": answers_of([CAT, BEE], [0, 1], INSECTS),
            "fog-1": answers_of([ANT, BEE, CAT, BEE], [0, 1, 2, 1], INSECTS),
            "fog-3": answers_of([ANT, ANT, ANT, ANT], [0, 1, 2, 1], INSECTS),
        },
        corruptions=("fog",),
        severities=(3, 1),
    )
    assert json.loads(result.notes["per_shift"]) == {
        "shifts": {"sketch": 0.6, "night": 0.5},
        "corruptions": {"fog": {"1": 1.0, "3": 0.25}},
        "severity": {"1": 1.0, "3": 0.25},
    }
    expected = {"source_top1": 3 / 4, "shift_accuracy": 0.55, "corruption_accuracy": 0.625, "mce": 0.375}
    expected |= {"mean_accuracy": (0.6 + 0.5 + 0.625) / 3, "relative_drop": (0.75 - 0.575) / 0.75}
    assert result.metrics == pytest.approx(expected)
    assert list(outcomes_of(result, "scenes+corruptions")) == [1.0, 0.5, 0.5, 0.5]
    assert list(outcomes_of(result, "sketch")) == [1.0, 0.0, 1.0, 1.0, 0.0]


def test_a_shift_with_some_of_the_classes_is_scored_over_those_alone_whatever_their_order(planted):
    few = answers_of([BEE, CAT, ANT, BEE], [1, 0, 1, 0], ("Cat", "ant"))
    result = planted({"test": answers_of([BEE], [0], INSECTS), "art": few})
    # Of ant and cat, BEE is more of an ant; labels 1, 0, 1, 0 are ant, cat, ant, cat.
    assert list(result.outcomes["prediction"]) == [0, 2, 0, 0]
    assert list(result.outcomes["label"]) == [0, 2, 0, 2]
    assert result.score == 0.75
    assert result.metrics["source_top1"] == 0.0, "the own pictures are scored over all classes"
    assert "relative_drop" not in result.metrics and "mce" not in result.metrics


def test_where_several_classes_are_right_a_prediction_is_right_if_it_is_among_them(planted):
    sets = ((0, 1), (1,), (2, 0))
    real = answers_of([CAT, CAT, ANT], [0, 1, 2], ("bee", "cat", "ant"), label_sets=sets)
    result = planted({"test": answers_of([ANT], [0], INSECTS), "real": real})
    assert list(outcomes_of(result, "real")) == [1.0, 1.0, 1.0]
    assert list(result.outcomes["label"]) == [1, 2, 0], "the first of each, as the classifier numbers it"
    wrong = replace(real, label_sets=((0,), (0, 2), (2, 0)))
    assert planted({"test": real, "real": wrong}).score == pytest.approx(1 / 3)


def test_answers_that_are_not_finite_are_an_error(planted):
    fine = answers_of([ANT], [0], INSECTS)
    with pytest.raises(NumericalError, match="'night'"):
        planted({"test": fine, "night": replace(fine, logits=np.array([[[1.0, np.nan, 0.0]]]))})


def one_set(name: str, correct: Sequence[Sequence[float]], ids: Sequence[str] | None = None) -> ScoredSet:
    values = np.array(correct, dtype=float)
    zeros = np.zeros(values.shape[1], dtype=np.int64)
    named = tuple(ids or (f"{name}{index}" for index in range(values.shape[1])))
    return ScoredSet(name=name, ids=named, labels=zeros, predictions=zeros, correct=values)


def test_replicates_do_not_depend_on_the_order_of_sets_or_pictures():
    rng = np.random.default_rng(0)
    sets = [one_set(name, rng.integers(0, 2, (1, count))) for name, count in (("a", 30), ("b", 20), ("c", 25))]
    replicates = mean_replicates(sets)
    assert replicates.shape == (RESAMPLES,)
    assert replicates.mean() == pytest.approx(np.mean([each.accuracy for each in sets]), abs=0.01)
    turned = [replace(each, ids=each.ids[::-1], correct=each.correct[:, ::-1]) for each in sets[::-1]]
    assert np.array_equal(replicates, mean_replicates(turned))


def test_sets_of_the_same_pictures_are_resampled_together_and_others_apart():
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, (1, 50))
    names = [f"test/{index:02}" for index in range(50)]
    alike = mean_replicates([one_set("night", right, names), one_set("fog", 1 - right, names)])
    assert np.ptp(alike) < 1e-12, "what one gains the other loses in every resample"
    apart = mean_replicates([one_set("night", right, names), one_set("fog", 1 - right)])
    assert apart.std() == pytest.approx(np.sqrt(0.25 / 50 / 2), rel=0.1)


def test_draws_of_a_few_shot_classifier_are_resampled_too():
    correct = np.repeat([[0.0], [1.0]], 500, axis=1)
    spread = mean_replicates([one_set("a", correct), one_set("b", correct)])
    assert set(spread) == {0.0, 0.5, 1.0}, "two draws, taken together for both sets"
    assert mean_replicates([one_set("a", correct[1:])]).min() == 1.0


def test_a_perfect_score_on_a_few_pictures_is_not_called_certain():
    perfect = one_set("a", [[1.0] * 4])
    result = generalised(perfect, [perfect, one_set("b", [[1.0] * 9])], None, is_imagenet=False, notes={})
    assert (result.score, result.score_high, result.metrics["relative_drop"]) == (1.0, 1.0, 0.0)
    assert result.score_low == pytest.approx(mean_interval([1] * 4)[0])


@pytest.mark.parametrize(
    ("names", "severities", "is_imagenet", "compared"),
    [
        (BENCHMARK, (1, 2, 3, 4, 5), True, True),
        (CORRUPTIONS, (1, 2, 3, 4, 5), True, True),
        (BENCHMARK[1:], (1, 2, 3, 4, 5), True, False),
        (BENCHMARK, (1, 2, 3, 4), True, False),
        (BENCHMARK, (1, 2, 3, 4, 5), False, False),
    ],
)
def test_errors_are_set_against_alexnet_only_where_its_own_are_published(names, severities, is_imagenet, compared):
    own = {name: 1 - error / 2 for name, error in ALEXNET_MEAN_ERROR.items()}
    accuracies = {name: dict.fromkeys(severities, own.get(name, 0.1)) for name in names}
    corrupted = Corrupted(pooled=one_set("corrupted", [[1.0, 0.0]]), accuracies=accuracies)
    result = generalised(one_set("own", [[1.0]]), [], corrupted, is_imagenet=is_imagenet, notes={})
    assert ("mce_alexnet" in result.metrics) == compared
    if compared:
        assert result.metrics["mce_alexnet"] == pytest.approx(0.5), "half of AlexNet's errors, those of extra aside"
    assert "shift_accuracy" not in result.metrics


def test_an_unknown_class_is_an_error_before_anything_is_trained(made, job_with):
    context, phases = made
    before = len(phases)
    unseen = other_of("scenes:unseen,train=2,val=2,test=2", context, "shifts")
    for protocol in ("linear", "finetune"):
        with pytest.raises(DataError, match=r"shift 'scenes:unseen.*the classifier has no class for"):
            load_reference(OOD_GENERALIZATION.protocols[protocol].run)(
                job_with(protocol, others=[unseen], seed=7, backbone=CONTROL), context
            )
    assert len(phases) == before


def test_nothing_to_score_frost_without_photographs_and_tiny_views_are_errors_before_training(
    made, job_with, monkeypatch
):
    phases = made[1]
    before = len(phases)
    with pytest.raises(ConfigError, match="neither shifts nor corruptions"):
        ood_generalization.linear(job_with(others=(), corruptions=("none",)), made[0])
    monkeypatch.setattr("bob.data.corruptions.photographs._folder", lambda: None)
    with pytest.raises(ConfigError, match="'frost' needs the photograph"):
        ood_generalization.linear(job_with(corruptions=("benchmark",)), made[0])
    job = job_with()  # a patch of 14 pixels makes 28 of 32
    with pytest.raises(ConfigError, match="28 x 28 pixels are too small"):
        ood_generalization.linear(replace(job, input=replace(job.input, image_size=28)), made[0])
    assert len(phases) == before


def test_labels_that_ood_detection_did_not_look_at_are_never_taken_for_those_of_a_shift(made, job_with):
    near = other_of(NIGHT, made[0], "near")
    foreign = job_of(SCENES, made[0], "linear", task=OOD_DETECTION, others=[near])
    shift = replace(near, role="shifts")
    own = job_with(others=[shift])
    assert other_features_need(foreign, near).key != other_features_need(own, shift).key
    with pytest.raises(AssertionError, match="labelled"):
        scored_set("night", fit_linear(foreign, made[0]).other(near), np.arange(10), classes=10)


def test_words_stand_for_corruptions_and_nonsense_is_refused():
    assert chosen_corruptions(["none"]) == ()
    assert chosen_corruptions(["benchmark"]) == BENCHMARK and chosen_corruptions(["extra"]) == EXTRA
    assert chosen_corruptions(["all"]) == chosen_corruptions(["extra", "benchmark"]) == CORRUPTIONS
    assert chosen_corruptions(["spatter", "benchmark"]) == (*BENCHMARK, "spatter")
    for names, said in ((["none", "fog"], "'none' is expected alone"), (["benchmark", "fog"], "'fog' twice")):
        with pytest.raises(ConfigError, match=said):
            chosen_corruptions(names)
    with pytest.raises(UnknownNameError, match="Did you mean 'contrast'"):
        CorruptionParams.checked("linear", {"corruptions": ("contrst",), "severities": (1,)})
    with pytest.raises(ConfigError, match="severities holds 2 twice"):
        CorruptionParams.checked("linear", {"corruptions": ("none",), "severities": (2, 2)})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Textures in folders by WordNet id, beside them others of one of the classes."""
    root = tmp_path_factory.mktemp("folders")
    write_folder(root / "own", wnids()[:2], {"train": 8, "val": 4, "test": 4})
    write_folder(root / "few", wnids()[1:2], {"train": 1, "val": 1, "test": 3})
    write_folder(root / "elsewhere", wnids()[7:8], {"train": 1, "val": 1, "test": 2})
    return root


def test_a_fine_tuned_classifier_is_trained_once_for_both_tasks(made, folders, monkeypatch):
    context, calls, search = made[0], [], classification_finetune.Finetune.search
    monkeypatch.setattr(
        classification_finetune.Finetune, "search", lambda self, name: calls.append(name) or search(self, name)
    )
    settings = {"size": 32, "budget": Budget(images_seen=32, trials=1)}
    first = job_of(folders / "own", context, "finetune", **settings)
    known = classification.finetune(replace(first, uses=("classifier", *first.uses)), context)
    settings |= {"task": OOD_GENERALIZATION, "corruptions": ("contrast",), "severities": (1, 5)}
    others = [other_of(folders / "few", context, "shifts")]
    result = ood_generalization.finetune(
        job_of(folders / "own", context, "finetune", others=others, **settings), context
    )
    assert len(calls) == 1
    assert result.metrics["source_top1"] == known.metrics["top1"]
    assert result.metrics["shift_accuracy"] in {0.0, 1 / 3, 2 / 3, 1.0} and "corruption_accuracy" in result.metrics
    again = classification.finetune(replace(first, uses=("classifier", *first.uses)), context)
    assert len(calls) == 1 and again.shared_s > 0, "what another job trained counts as this one's training"
    assert known.shared_s == result.shared_s == 0 and result.notes["n_test"] == 8


def test_a_pretrained_head_is_scored_on_shifts_of_classes_that_its_own_folder_lacks(made, folders):
    others = [other_of(folders / name, made[0], "shifts") for name in ("few", "elsewhere")]
    settings = {"size": 32, "task": OOD_GENERALIZATION, "corruptions": ("contrast",), "severities": (5,)}
    job = job_of(folders / "own", made[0], "pretrained_head", others=others, **settings)
    result = ood_generalization.pretrained_head(job, made[0])
    # With one class there is one answer.
    assert json.loads(result.notes["per_shift"])["shifts"] == {"few": 1.0, "elsewhere": 1.0}
    assert set(result.outcomes["label"]) == {0, 1, 7}
    known = classification.pretrained_head(job_of(folders / "own", made[0], "pretrained_head", size=32), made[0])
    assert result.metrics["source_top1"] == known.metrics["top1"]


def test_the_task_as_data_agrees_with_the_columns_and_classification():
    assert set(METRICS) | {"per_shift", "others"} <= set(BY_NAME)
    for name, base in CLASSIFICATION.protocols.items():
        protocol = OOD_GENERALIZATION.protocols[name]
        assert callable(load_reference(protocol.run)) and protocol.run.endswith(f":{name}")
        assert issubclass(protocol.params, base.params)
        assert (protocol.classifier, protocol.epochs, protocol.trials) == (base.classifier, base.epochs, base.trials)
        assert set(protocol.budget) <= set(base.budget)


SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.random]
datasets: ["scenes"]
tasks:
  - task: ood_generalization
    shifts: ["scenes:domain=night"]
    protocols: [{protocol: linear, params: {corruptions: [extra, fog], severities: [1, 3]}}, knn]
  - task: classification
    protocols: [linear, knn]
"""


@pytest.fixture
def plan(tmp_path) -> Callable[..., Plan]:
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))

    def expanded(text: str, **more) -> Plan:
        source = parse_yaml(text, name="mine.yaml")
        return expand(check_suite(source), source, settings, **more)

    return expanded


def test_a_suite_plans_jobs_that_share_features_and_classifier_and_knows_what_corruptions_cost(plan):
    jobs = {(job.task, job.protocol): job for job in plan(SUITE).jobs}
    shifted, known = jobs["ood_generalization", "linear"], jobs["classification", "linear"]
    kinds = [need.kind for need in needs_of(shifted)]
    assert sorted(kinds) == ["classifier", "features", "features", "features", "profile"]
    assert {need.key for need in needs_of(known)} <= {need.key for need in needs_of(shifted)}
    assert "corruptions" not in dict(other_features_need(shifted, shifted.others[0]).content)
    passed = dict(corrupted_features_need(shifted).content)["corruptions"]
    assert passed[:2] == (("fog", *EXTRA), (1, 3))
    backbone = catalogue.find("tf_efficientnet_lite0.random")
    more, less = (
        estimate_s(job, backbone, 224, UNKNOWN_MACHINE) for job in (shifted, jobs["ood_generalization", "knn"])
    )
    assert more > less + 400 * 10 * 0.006 / 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('    shifts: ["scenes:domain=night"]\n', "", "nothing to score: neither shifts nor corruptions"),
        ("domain=night", "unseen", "shift 'scenes:unseen' of 'scenes': the classifier has no class"),
        ("domain=night", "domain=clean", "under 'shifts' has the content of the task's own"),
        ("shifts", "near", "has no use for 'near'"),
        ("[extra, fog]", "[extra, saturate]", "'saturate' twice"),
        ("[extra, fog]", "[extra, smog]", "corruption 'smog' is not known"),
        ("[1, 3]", "[1, 6]", "at most 5"),
    ],
)
def test_what_makes_no_sense_is_refused_while_planning(plan, old, new, said):
    assert old in SUITE
    with pytest.raises(SuiteError, match=said) as caught:
        plan(SUITE.replace(old, new, 1))
    assert "mine.yaml:" in str(caught.value)


def test_a_shift_without_labels_is_refused_and_other_data_in_place_leave_the_task_out(plan, folders):
    coco_folder(folders / "boxes", {"train": coco_content(2), "val": coco_content(2), "test": coco_content(2)})
    with pytest.raises(SuiteError, match=r"has boxes.* for each picture: expected a class"):
        plan(SUITE.replace("scenes:domain=night", str(folders / "boxes")))
    made = plan(SUITE, data=[str(folders / "own")])
    assert {job.task for job in made.jobs} == {"classification"}
    assert "the classifier has no class for 10" in made.left_out["ood_generalization"]


def test_ties_are_right_to_the_share_of_classes_that_are_whatever_their_order():
    tied = answers_of([[0.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 3.0]], [0, 1], ("a", "b"))
    for places in (np.array([0, 1]), np.array([2, 1])):
        assert scored_set("night", tied, places, classes=4).correct.tolist() == [[0.5, 1.0]]
    assert scored_set("own", tied, np.array([0, 1]), classes=4, over_all=True).correct.tolist() == [[0.0, 0.0]]
