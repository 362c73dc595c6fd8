"""Adversarial robustness: the worst of several attacks per picture, on the classifier that other tasks use too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from attack_helpers import shorten_autoattack
from classification_jobs import CONTROL, context_of, job_of, other_of
from PIL import Image

from bob.backbones import catalogue
from bob.core.errors import ConfigError, OutOfMemoryError, SuiteError
from bob.core.registry import load_reference
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.transforms import eval_transform
from bob.jobs.context import Context
from bob.jobs.estimate import UNKNOWN_MACHINE, estimate_s
from bob.jobs.job import Budget, Job
from bob.jobs.needs import needs_of
from bob.jobs.plan import expand
from bob.jobs.row import BY_NAME
from bob.jobs.run import failure_row, message_of, run_job, status_of
from bob.jobs.suite import check_suite
from bob.metrics.interval import mean_interval
from bob.probes import adversarial_attacks as attacks_module
from bob.probes.adversarial_attacks import Attack, robust_correct, to_pixels
from bob.reporting.paired import Run, pair
from bob.store import ResultStore
from bob.tasks.adversarial import adversarial_protocols as adversarial
from bob.tasks.adversarial.adversarial_spec import ADVERSARIAL_ROBUSTNESS, ATTACK_WORDS, METRICS, NORM_WORDS
from bob.tasks.classification import classification_finetune
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification import feature_classifiers as classifier_features
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.classification.feature_classifiers import fit_linear
from bob.tasks.ood.detection import ood_detection_protocols as ood_detection
from bob.tasks.ood.detection.ood_detection_spec import OOD_DETECTION
from bob.tasks.result import TaskResult

COLOURS = {"blue": (60, 60, 190), "green": (60, 190, 60), "grey": (125, 125, 125), "red": (190, 60, 60)}
COUNTS = {"train": 6, "val": 3, "test": 4}
N_TEST = len(COLOURS) * COUNTS["test"]
MISPLACED = "test/red/1.png"  # a blue picture: the classifier gets it wrong without an attack
# Where lite0's logistic regression on colours begins to err: some pictures withstand, some do not.
SMALL = {"eps_linf": 1.0, "eps_l2": 32.0, "steps": 5}
ONE = {"attacks": ("fgsm",), "norms": ("linf",)}
Made = tuple[Path, Context]


def noisy(colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(np.clip(np.array(colour) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8))


def write_colours(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noisy(colour, rng).save(root / split / name / f"{number}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four colours that a linear probe tells apart without a mistake, and the same with one picture misplaced."""
    root = tmp_path_factory.mktemp("adversarial")
    for name in ("colours", "misplaced"):
        write_colours(root / name)
    noisy(COLOURS["blue"], np.random.default_rng(1)).save(root / "misplaced" / MISPLACED)
    return root, context_of(root)


@pytest.fixture(scope="module")
def job_with(made: Made) -> Callable[..., Job]:
    root, context = made

    def build(protocol: str = "linear", *, data: str = "colours", **settings) -> Job:
        return job_of(root / data, context, protocol, **{"task": ADVERSARIAL_ROBUSTNESS, "size": 32, **settings})

    return build


@pytest.fixture(scope="module")
def found(made: Made, job_with: Callable[..., Job]) -> TaskResult:
    return adversarial.linear(job_with(**SMALL), made[1])


def test_pictures_that_all_withstand_at_eps_0_fall_with_eps(made, job_with, found):
    still, far = (adversarial.linear(job_with(eps_linf=eps, eps_l2=32 * eps), made[1]) for eps in (0.0, 16.0))
    assert still.score == 1.0 and set(still.metrics.values()) == {1.0}
    assert 1.0 > found.score > far.score
    for name in ("robust_pgd_linf", "robust_pgd_l2"):
        assert 1.0 > found.metrics[name] > far.metrics[name]


def test_the_score_is_the_worst_case_per_picture(made, job_with, found):
    attacks = {name: value for name, value in found.metrics.items() if name.startswith("robust_") and value}
    assert set(attacks) == {"robust_accuracy", *(f"robust_{a}_{n}" for a in ("fgsm", "pgd") for n in ("linf", "l2"))}
    assert found.score == found.metrics["robust_accuracy"] == min(attacks.values())
    # Alone, each attack gives its column of the whole, and the worst case is that of the pictures, not of the means.
    alone = [
        adversarial.linear(job_with(**SMALL, attacks=(attack,), norms=(norm,)), made[1])
        for attack in ("fgsm", "pgd")
        for norm in ("linf", "l2")
    ]
    for result in alone:
        (name,) = set(result.metrics) - {"robust_accuracy", "clean_top1"}
        assert result.score == result.metrics[name] == found.metrics[name]
    worst = np.min([result.outcomes["outcome"] for result in alone], axis=0)
    np.testing.assert_array_equal(found.outcomes["outcome"], worst)


def test_a_worst_case_below_every_attacks_accuracy_is_counted(made, job_with, monkeypatch):
    right = {"clean": [1, 1, 1, 0], "a": [1, 0, 1, 0], "b": [0, 1, 1, 0]}
    monkeypatch.setattr(
        adversarial, "robust_correct", lambda *_, **__: {name: np.array(value, bool) for name, value in right.items()}
    )
    job = job_with(attacks=("fgsm",), budget=Budget(max_test=4))
    result = adversarial.linear(job, made[1])
    assert result.metrics == {
        "robust_accuracy": 0.25,
        "clean_top1": 0.75,
        "robust_fgsm_linf": 0.5,
        "robust_fgsm_l2": 0.5,
    }
    np.testing.assert_array_equal(result.outcomes["outcome"], [0, 0, 1, 0])
    assert (result.score_low, result.score_high) == mean_interval([0, 0, 1, 0])


def test_the_model_attacked_sees_evaluations_views_in_the_backbones_own_normalisation(made, job_with, found):
    job = job_with(**SMALL)
    probe = fit_linear(job, made[1])
    pictures, norm = probe.setup.pictures("test"), {"mean": job.input.mean, "std": job.input.std}
    images = torch.stack([eval_transform(job.input)(pictures.load(index)) for index in range(len(pictures))])
    attack = Attack(name="pgd", norm="l2", eps=32, steps=5, step_size=8)
    model = probe.module().eval()
    right = robust_correct(model, to_pixels(images, **norm), torch.from_numpy(pictures.labels), [attack], **norm)
    assert right["clean"].mean() == found.metrics["clean_top1"]
    assert right[attack.label].mean() == pytest.approx(found.metrics["robust_pgd_l2"], abs=1.5 / N_TEST)
    assert 0 < right[attack.label].mean() < 1


def test_without_an_attack_it_is_the_classifier_of_classification(made, job_with, found):
    root, context = made
    known = classification.linear(job_of(root / "colours", context, "linear", size=32), context)
    assert found.metrics["clean_top1"] == known.metrics["top1"] == 1.0
    for column in ("sample_id", "label", "prediction"):
        np.testing.assert_array_equal(found.outcomes[column], known.outcomes[column])


def test_a_picture_that_is_wrong_without_an_attack_is_not_robust(made, job_with):
    result = adversarial.linear(job_with(data="misplaced", eps_linf=0.0, eps_l2=0.0), made[1])
    outcomes = pd.DataFrame(result.outcomes).set_index("sample_id")
    wrong = outcomes[outcomes["outcome"] == 0]
    assert list(wrong.index) == [MISPLACED]
    assert wrong["prediction"].item() == sorted(COLOURS).index("blue") != wrong["label"].item()
    assert result.score == result.metrics["clean_top1"] == result.metrics["robust_pgd_l2"] == 1 - 1 / N_TEST


def test_the_classifier_is_trained_once_for_three_tasks(made, job_with, tmp_path, found, monkeypatch):
    root, calls, fit = made[0], [], classifier_features.fit_path
    monkeypatch.setattr(classifier_features, "fit_path", lambda *args, **kw: calls.append(1) or fit(*args, **kw))
    context = context_of(tmp_path)
    again = adversarial.linear(job_with(**SMALL), context)
    first = job_of(root / "colours", context, "linear", size=32, task=CLASSIFICATION)
    classification.linear(replace(first, uses=("classifier", *first.uses)), context)
    near = [other_of(root / "misplaced", context, "near")]
    ood_detection.linear(job_of(root / "colours", context, "linear", size=32, task=OOD_DETECTION, others=near), context)
    assert len(calls) == 1
    assert again.metrics == found.metrics and again.notes["per_attack"] == found.notes["per_attack"]
    np.testing.assert_array_equal(again.outcomes["outcome"], found.outcomes["outcome"])


def test_fine_tuning_trains_once_for_both_tasks(made, job_with, monkeypatch):
    root, context = made
    calls, search = [], classification_finetune.Finetune.search
    monkeypatch.setattr(
        classification_finetune.Finetune, "search", lambda self, name: calls.append(name) or search(self, name)
    )
    budget = Budget(images_seen=96, trials=1)
    first = job_of(root / "colours", context, "finetune", size=32, budget=budget)
    known = classification.finetune(replace(first, uses=("classifier", *first.uses)), context)
    job = job_with("finetune", budget=replace(budget, max_test=8), eps_linf=0.0, norms=("linf",))
    result = adversarial.finetune(job, context)
    assert len(calls) == 1
    assert result.notes["n_test"] == len(result.outcomes["outcome"]) == 8
    before = dict(zip(known.outcomes["sample_id"], known.outcomes["prediction"], strict=True))
    after = dict(zip(result.outcomes["sample_id"], result.outcomes["prediction"], strict=True))
    assert after.items() <= before.items()
    assert known.shared_s == result.shared_s == 0 and result.hparams == known.hparams and result.search == known.search


def test_the_seed_decides_the_starts_of_pgd(made, job_with):
    job = job_with(**SMALL, attacks=("pgd",))
    seeds = [attack.seed for seed in (0, 3) for attack in adversarial.attacks_of(replace(job, seed=seed))]
    assert seeds == [0, 0, 3, 3]


def test_parameters_reach_the_attacks(job_with):
    job = job_with(eps_linf=2.0, eps_l2=64.0, steps=7, step_size=0.5, restarts=3, attacks=tuple(ATTACK_WORDS))
    own = {"steps": 7, "restarts": 3}
    assert adversarial.attacks_of(job) == [
        Attack(name="fgsm", norm="linf", eps=2.0),
        Attack(name="fgsm", norm="l2", eps=64.0),
        Attack(name="pgd", norm="linf", eps=2.0, step_size=1.0, **own),
        Attack(name="pgd", norm="l2", eps=64.0, step_size=32.0, **own),
        Attack(name="autoattack", norm="linf", eps=2.0),
        Attack(name="autoattack", norm="l2", eps=64.0),
    ]


def test_autoattack_finds_at_least_what_pgd_finds_and_has_its_columns(made, job_with, monkeypatch):
    shorten_autoattack(monkeypatch)
    job = job_with(**SMALL, attacks=("pgd", "autoattack"), norms=("linf",), budget=Budget(max_test=8))
    result = adversarial.linear(job, made[1])
    assert set(result.metrics) == {"robust_accuracy", "clean_top1", "robust_pgd_linf", "robust_autoattack_linf"}
    assert result.metrics["robust_autoattack_linf"] <= result.metrics["robust_pgd_linf"] < 1.0


def test_memory_that_runs_out_halves_the_batch_and_each_picture_keeps_its_label(made, job_with, found, monkeypatch):
    sizes = []

    def cramped(room: int) -> Callable[..., dict[str, np.ndarray]]:
        def scored(model, images, *rest, **norm):
            sizes.append(len(images))
            if len(images) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return robust_correct(model, images, *rest, **norm)

        return scored

    monkeypatch.setattr(adversarial, "robust_correct", cramped(4))
    result = adversarial.linear(job_with(**SMALL, attacks=("fgsm",)), made[1])
    assert sizes == [16, 8, 4, 4, 4, 4]
    assert {value["batch"] for value in json.loads(result.notes["per_attack"]).values()} == {4}
    assert result.metrics["clean_top1"] == 1.0
    for name in ("robust_fgsm_linf", "robust_fgsm_l2"):
        assert result.metrics[name] == pytest.approx(found.metrics[name], abs=1 / N_TEST)
    monkeypatch.setattr(adversarial, "robust_correct", cramped(0))
    with pytest.raises(OutOfMemoryError):
        adversarial.linear(job_with(**SMALL, attacks=("fgsm",)), made[1])


def test_a_random_control_runs_and_pairs_with_the_pretrained_one(made, job_with, found):
    control = adversarial.linear(job_with(backbone=CONTROL, **SMALL), made[1])
    assert 0 <= control.score <= control.metrics["clean_top1"] < 1
    runs = {
        name: [Run(result.score, pd.DataFrame(result.outcomes))]
        for name, result in (("pretrained", found), ("random", control))
    }
    paired = pair(runs)
    assert paired.reason is None and paired.samples == N_TEST


def test_the_row_tells_every_setting(made, job_with, found):
    context, job = made[1], job_with(**SMALL)
    row = run_job(job, context)
    assert row["status"] == "ok" and row["metric"] == "robust_accuracy" and row["score"] == found.score
    assert set(METRICS) | {"per_attack"} <= set(BY_NAME)
    told = json.loads(row["per_attack"])
    assert list(told) == ["fgsm_l2", "fgsm_linf", "pgd_l2", "pgd_linf"]
    shared = {"batch": 32, "precision": "fp32", "seed": 0}
    assert told["fgsm_l2"] == {**shared, "eps": 32.0, "accuracy": round(found.metrics["robust_fgsm_l2"], 6)}
    own = {"steps": 5, "step_size": 0.25, "restarts": 1, "random_start": True}
    assert told["pgd_linf"] == {**shared, **own, "eps": 1.0, "accuracy": round(found.metrics["robust_pgd_linf"], 6)}
    kept = ResultStore(context.results_dir).outcomes(job.id)
    assert list(kept.columns) == ["sample_id", "label", "prediction", "outcome"]
    assert kept["outcome"].mean() == row["score"] and row["n_test"] == N_TEST
    assert row["score_low"] <= row["score"] <= row["score_high"]


@pytest.mark.parametrize(("attack", "package"), [("pgd", "foolbox"), ("autoattack", "pyautoattack")])
def test_a_missing_package_fails_its_own_jobs_alone_and_before_any_work(attack, package, made, job_with, monkeypatch):
    root, context = made
    monkeypatch.setitem(sys.modules, package, None)
    cold = replace(context, cache_dir=root / f"cold-{package}")
    for protocol in ADVERSARIAL_ROBUSTNESS.protocols:
        job = job_with(protocol, attacks=(attack,))
        with pytest.raises(ConfigError, match=f"{attack!r} needs the package {package!r} of the extra") as caught:
            run_job(job, cold)
        assert caught.value.hint == "pip install 'battle-of-the-backbones[adversarial]'"
        assert not cold.cache_dir.exists()
        row = failure_row(
            job, cold, status=status_of(caught.value), error_class="ConfigError", message=message_of(caught.value)
        )
        assert row["status"] == "failed" and "extra 'adversarial'" in row["error"]
    assert classification.linear(job_of(root / "colours", context, "linear", size=32), context).score == 1.0
    if attack == "autoattack":
        assert adversarial.linear(job_with(**ONE), context).score < 1.0


def test_the_task_as_data_agrees_with_the_attacks_and_with_classification():
    assert tuple(ATTACK_WORDS) == attacks_module.NAMES and tuple(NORM_WORDS) == attacks_module.NORMS
    assert set(attacks_module.PACKAGES) == set(ATTACK_WORDS)
    for name, protocol in ADVERSARIAL_ROBUSTNESS.protocols.items():
        base = CLASSIFICATION.protocols[name]
        assert callable(load_reference(protocol.run)) and protocol.run.endswith(f":{name}")
        assert issubclass(protocol.params, base.params)
        assert (protocol.classifier, protocol.budget, protocol.epochs) == (base.classifier, base.budget, base.epochs)
        assert "classifier" in protocol.uses


def test_more_attacks_steps_norms_and_pictures_are_expected_to_take_longer(job_with):
    backbone = catalogue.find(CONTROL)

    def seconds(**settings) -> float:
        return estimate_s(job_with(**settings), backbone, 224, UNKNOWN_MACHINE)

    base = seconds(attacks=("pgd",), norms=("linf",))
    for more in ({"steps": 20}, {"restarts": 2}, {"norms": ("linf", "l2")}, {"attacks": ("fgsm", "pgd")}):
        assert seconds(**{"attacks": ("pgd",), "norms": ("linf",), **more}) > base
    assert seconds(attacks=("autoattack",), norms=("linf",)) > 10 * base > 0
    assert seconds(attacks=("pgd",), norms=("linf",), budget=Budget(max_test=4)) < base


SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.random]
datasets: [{root}/colours]
tasks:
  - task: classification
    protocols: [linear, finetune]
  - task: adversarial_robustness
    protocols:
      - {{protocol: linear, params: {{attacks: [fgsm, pgd], eps_linf: 2}}}}
      - {{protocol: finetune, budget: {{max_test: 4}}}}
"""


def plan_of(root: Path, tmp_path: Path, text: str = SUITE) -> tuple[Job, ...]:
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    source = parse_yaml(text.format(root=root), name="mine.yaml")
    return expand(check_suite(source), source, settings).jobs


def test_a_suite_plans_jobs_that_share_features_and_classifier(made, tmp_path):
    jobs = {(job.task, job.protocol): job for job in plan_of(made[0], tmp_path)}
    for protocol in ("linear", "finetune"):
        keys = [
            {need.key for need in needs_of(jobs[task, protocol])}
            for task in ("adversarial_robustness", "classification")
        ]
        assert keys[0] == keys[1] and any(key.startswith("classifier") for key in keys[0])
    assert dict(jobs["adversarial_robustness", "linear"].params)["eps_linf"] == 2.0


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("attacks: [pgd, pgd]", "attacks are pgd, pgd: each is expected once"),
        ("norms: [l2, l2]", "norms are l2, l2: each is expected once"),
        ("attacks: [cw]", "expected one of fgsm, pgd, autoattack"),
        ("norms: [l1]", "expected one of linf, l2"),
        ("eps_l2: -1", "at least 0"),
        ("step_size: 0", "at least"),
        ("restarts: 0", "at least 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_while_planning(made, tmp_path, params, said):
    old = "attacks: [fgsm, pgd], eps_linf: 2"
    assert old in SUITE
    with pytest.raises(SuiteError, match=said) as caught:
        plan_of(made[0], tmp_path, SUITE.replace(old, params))
    assert "mine.yaml:" in str(caught.value)
