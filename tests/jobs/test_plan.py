"""From a suite to jobs: names, filters, parameters and budgets checked; what is missing is skipped with its reason."""

from __future__ import annotations

import pytest

from bob.core.errors import ConfigError, SuiteError
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.jobs.job import MISSING
from bob.jobs.needs import needs_of
from bob.jobs.plan import Plan, expand
from bob.jobs.suite import check_suite
from bob.tasks.spec import TASKS

SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.in1k, tf_efficientnet_lite0.random, resnet50.a1_in1k]
datasets: [scenes]
tasks:
  - task: classification
    protocols: [linear, {protocol: finetune, budget: {images_seen: 500}}]
seeds: [0, 1]
image_size: 130
budget: {max_train: 40, trials: 2}
"""


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))


def plan(text: str, settings: Settings, **kwargs) -> Plan:
    source = parse_yaml(text, name="mine.yaml")
    return expand(check_suite(source), source, settings, **kwargs)


def test_a_suite_is_the_cross_product_of_what_it_names(settings):
    jobs = plan(SUITE, settings).jobs
    assert len(jobs) == 3 * 2 * 2
    assert len({job.id for job in jobs}) == len(jobs)
    assert {job.input.image_size for job in jobs} == {130}


def test_a_checkpoint_nobody_has_is_skipped_with_the_reason_and_never_random(settings):
    expanded = plan(SUITE, settings)
    missing = [job for job in expanded.jobs if job.backbone == "resnet50.a1_in1k"]
    assert missing
    assert all(job.missing and job.weights_sha256 == MISSING for job in missing)
    assert list(expanded.missing_backbones) == ["resnet50.a1_in1k"]
    others = [job for job in expanded.jobs if job not in missing]
    assert not any(job.missing for job in others)


def test_the_packaged_weights_are_identified_by_their_content(settings):
    shas = {job.backbone: job.weights_sha256 for job in plan(SUITE, settings).jobs}
    assert len(shas["tf_efficientnet_lite0.in1k"]) == 64
    assert shas["tf_efficientnet_lite0.random"] == "random"


def test_a_protocol_takes_from_the_budget_only_what_it_spends(settings):
    jobs = {job.protocol: job for job in plan(SUITE, settings).jobs}
    assert jobs["linear"].budget.label() == "train=40"
    assert jobs["finetune"].budget.label() == "train=40 seen=500 trials=2"
    more = plan(SUITE.replace("images_seen: 500", "images_seen: 600"), settings).jobs
    assert {job.id for job in more if job.protocol == "linear"} == {
        job.id for job in plan(SUITE, settings).jobs if job.protocol == "linear"
    }


def test_a_missing_data_set_skips_its_jobs_and_says_so(settings, tmp_path):
    expanded = plan(SUITE, settings, data=[str(tmp_path / "nothing here")])
    assert all(job.missing for job in expanded.jobs)
    assert "nothing here" in next(iter(expanded.missing_data.values()))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("resnet50.a1_in1k", "resnet50.a1_in1kk", 2, "Did you mean 'resnet50.a1_in1k'"),
        ("task: classification", "task: clasification", 5, "Did you mean 'classification'"),
        ("[linear,", "[liner,", 6, "Did you mean 'linear'"),
        ("[linear,", "[{protocol: linear, params: {l3: 1}},", 6, "has no parameter 'l3'"),
        ("[scenes]", "[scense]", 3, "scense"),
        ("resnet50.a1_in1k]", "{where: {parms_m: '< 3'}}]", 2, "parms_m"),
        ("resnet50.a1_in1k]", "{where: {params_m: '<< 3'}}]", 2, "<< 3"),
    ],
)
def test_an_unknown_name_is_found_before_anything_runs(settings, old, new, line, said):
    with pytest.raises(SuiteError, match=said) as caught:
        plan(SUITE.replace(old, new), settings)
    assert f"mine.yaml:{line}: " in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"k": "many"}, "expected a whole number"),
        ({"k": 0}, "at least 1"),
        ({"k": 2.5}, "a whole number"),
        ({"temprature": 1}, "Did you mean 'temperature'"),
    ],
)
def test_a_parameter_outside_what_it_may_be_is_refused(given, said):
    knn = TASKS.get("classification").protocols["knn"]
    with pytest.raises(ConfigError, match=said):
        knn.resolve(given)


def test_parameters_are_complete_and_typed_whatever_way_they_came():
    linear = TASKS.get("classification").protocols["linear"]
    assert dict(linear.resolve({"l2": "1,0.5"}))["l2"] == (1.0, 0.5)
    assert dict(linear.resolve({"l2": [1, 0.5]})) == dict(linear.resolve({"l2": "1,0.5"}))
    assert dict(linear.resolve({})) == {name: field.default for name, field in linear.params.model_fields.items()}


def test_data_sets_that_are_not_here_make_a_job_each(settings):
    jobs = plan(SUITE.replace("[scenes]", "[cifar10, cifar100]"), settings).jobs
    assert len({job.id for job in jobs}) == len(jobs) == 2 * 3 * 2 * 2
    assert all(job.missing for job in jobs)


OTHERS = """\
name: mine
backbones: [tf_efficientnet_lite0.in1k]
datasets: [scenes]
tasks:
  - {task: classification, protocols: [linear, knn]}
  - {task: ood_generalization, protocols: [linear, knn], shifts: ["scenes:domain=night"]}
  - {task: ood_detection, protocols: [linear], near: ["scenes:unseen"]}
"""


def test_tasks_that_want_the_same_classifier_share_it_and_one_that_nobody_else_wants_is_not_kept(settings):
    jobs = {(job.task, job.protocol): job for job in plan(OTHERS, settings).jobs}
    keys = {
        name: [need.key for need in needs_of(job) if need.kind == "classifier"]
        for name, job in jobs.items()
        if job.protocol == "linear"
    }
    assert len({tuple(found) for found in keys.values()}) == 1 and all(len(found) == 1 for found in keys.values())
    alone = plan(SUITE, settings).jobs
    assert not any(need.kind == "classifier" for job in alone for need in needs_of(job))


def test_features_are_one_artifact_for_every_task_that_looks_at_the_same_pictures(settings):
    jobs = plan(OTHERS, settings).jobs
    features = {need.key: need for job in jobs for need in needs_of(job) if need.kind == "features"}
    own = [need for need in features.values() if dict(need.content)["dataset"] == jobs[0].dataset_fingerprint]
    assert len(own) == 1
    assert len(features) == 3


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ('{task: classification, protocols: [linear], near: ["scenes:unseen"]}', "'near' goes with ood_detection"),
        ("{task: ood_detection, protocols: [linear]}", "needs data sets beside its own"),
        ("{task: ood_detection, protocols: [linear], far: [scenes]}", "has the content of the task's own 'scenes'"),
        ("{task: ood_generalization, protocols: [linear]}", "neither shifts nor corruptions are given"),
        ('{task: ood_detection, protocols: [knn], near: ["scenes:unseen"]}', "protocol of task 'ood_detection' 'knn'"),
    ],
)
def test_a_task_says_which_data_beside_its_own_it_takes(settings, task, words):
    head = OTHERS[: OTHERS.index("tasks:")]
    with pytest.raises(SuiteError, match=r"mine\.yaml:5") as error:
        plan(f"{head}tasks:\n  - {task}\n", settings)
    assert words in str(error.value)


def test_data_given_that_are_a_tasks_own_foreign_set_leave_that_task_out(settings):
    expanded = plan(OTHERS, settings, data=["scenes:unseen"])
    assert {job.task for job in expanded.jobs} == {"classification"}
    assert "has the content of the task's own" in expanded.left_out["ood_detection"]


def test_the_order_in_which_a_suite_names_other_sets_changes_no_job(settings):
    turned = OTHERS.replace('near: ["scenes:unseen"]', 'near: ["scenes:domain=fog", "scenes:unseen"]')
    again = OTHERS.replace('near: ["scenes:unseen"]', 'near: ["scenes:unseen", "scenes:domain=fog"]')
    assert {job.id for job in plan(turned, settings).jobs} == {job.id for job in plan(again, settings).jobs}
