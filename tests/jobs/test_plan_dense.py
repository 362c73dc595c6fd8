"""Planning dense tasks: their own backbones, sizes and budgets; data that lack an annotation are named, not run."""

from __future__ import annotations

import pytest
from classification_jobs import write_folder

from bob.core.errors import DataError, SuiteError
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.jobs.estimate import Machine
from bob.jobs.plan import Plan, expand
from bob.jobs.suite import check_suite
from bob.tasks.spec import TASKS

SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.in1k, tf_efficientnet_lite1.in1k]
datasets: ["scenes:train=20,val=5,test=5"]
tasks:
  - {task: classification, protocols: [linear]}
  - task: detection
    backbones: [tf_efficientnet_lite2.in1k]
    image_size: 96
    protocols: [{protocol: frozen, params: {levels: [8, 16]}}]
image_size: 64
"""
DENSE = ("detection", "instance_segmentation", "semantic_segmentation")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))


def plan(text: str, settings: Settings, **kwargs) -> Plan:
    source = parse_yaml(text, name="mine.yaml")
    return expand(check_suite(source), source, settings, **kwargs)


def test_a_task_may_have_backbones_and_a_size_of_its_own(settings):
    expanded = plan(SUITE, settings)
    cells = {(job.task, job.backbone.partition(".")[0], job.input.image_size) for job in expanded.jobs}
    assert cells == {
        ("classification", "tf_efficientnet_lite0", 64),
        ("classification", "tf_efficientnet_lite1", 64),
        ("detection", "tf_efficientnet_lite2", 96),
    }
    assert {backbone.arch for backbone in expanded.backbones} == {f"tf_efficientnet_lite{n}" for n in range(3)}


def test_a_dense_job_states_its_budget_and_every_parameter(settings):
    (job,) = (job for job in plan(SUITE, settings).jobs if job.task == "detection")
    assert (job.budget.images_seen, job.budget.trials) == (12 * 20, 1)
    assert dict(job.params)["levels"] == (8, 16)
    assert set(dict(job.params)) == set(TASKS.get("detection").protocols["frozen"].params.model_fields)


def test_an_unknown_backbone_of_a_task_is_named_with_its_line(settings):
    with pytest.raises(SuiteError, match=r"mine.yaml:7: backbone 'tf_efficientnet_lite9"):
        plan(SUITE.replace("lite2.in1k", "lite9.in1k"), settings)


def test_data_without_the_annotation_are_an_error_of_the_suite(settings, tmp_path):
    folder = write_folder(tmp_path / "textures")
    with pytest.raises(SuiteError, match=r"mine.yaml:6: task 'detection' needs data with annotation 'boxes'"):
        plan(SUITE.replace('"scenes:train=20,val=5,test=5"', str(folder)), settings)


def test_data_given_on_the_command_line_leave_out_the_tasks_they_cannot_serve(settings, tmp_path):
    folder = write_folder(tmp_path / "textures")
    expanded = plan(SUITE, settings, data=[str(folder)])
    assert {job.task for job in expanded.jobs} == {"classification"}
    assert "has label" in expanded.left_out["detection"]
    only_dense = SUITE.replace("  - {task: classification, protocols: [linear]}\n", "")
    with pytest.raises(DataError, match="needs data with annotation 'boxes'"):
        plan(only_dense, settings, data=[str(folder)])


@pytest.mark.parametrize("task", DENSE)
def test_every_dense_protocol_is_estimated_and_declares_what_it_runs(task, settings):
    described = TASKS.get(task)
    protocols = ", ".join(described.protocols)
    text = SUITE.replace("classification, protocols: [linear]", f"{task}, protocols: [{protocols}]")
    jobs = [job for job in plan(text, settings, machine=Machine(cores=2)).jobs if job.task == task]
    assert {job.protocol for job in jobs} == {"finetune", "frozen"}
    assert all(job.estimate_s and job.estimate_s > 0 for job in jobs)
    times = {job.protocol: job.estimate_s for job in jobs if job.backbone.startswith("tf_efficientnet_lite1")}
    assert times["frozen"] < times["finetune"]
    assert described.metric in described.metrics


def test_parameters_that_do_not_go_together_are_found_while_planning(settings):
    text = SUITE.replace("params: {levels: [8, 16]}", "params: {head: fcos, channels: 48}")
    with pytest.raises(SuiteError, match=r"mine.yaml:9: channels is 48: FCOS"):
        plan(text, settings)


def test_data_in_place_of_several_take_the_first_recipe(settings):
    other = "  - {task: detection, datasets: [coco], protocols: [finetune]}\n"
    text = SUITE.replace("image_size: 64\n", f"{other}image_size: 64\n")
    assert {job.protocol for job in plan(text, settings).jobs if job.task == "detection"} == {"frozen", "finetune"}
    expanded = plan(text, settings, data=["scenes:train=8,val=2,test=2"])
    assert {job.protocol for job in expanded.jobs if job.task == "detection"} == {"frozen"}
