"""The command line: a user's mistake is one clear message and exit code 2, never a traceback."""

from __future__ import annotations

import json

import pytest

from bob.cli import main
from bob.cli.main import build_parser
from bob.core.errors import BobError
from bob.jobs.request import apply_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "smokey"], "suite 'smokey' is not known. Did you mean 'smoke'?"),
        (["plan", "./none.yaml"], "cannot be read"),
        (["plan"], "name a suite, or one job with --backbone"),
        (["plan", "smoke", "--backbone", "resnet50.a1_in1k"], "not both"),
        (["plan", "--backbone", "resnet50.a1_in1k"], "one job needs --data"),
        (["plan", "smoke", "--scale", "papper"], "has no scale 'papper'"),
        (["plan", "smoke", "--set", "image_size"], "not of the form KEY=VALUE"),
        (["plan", "smoke", "--set", "image_size=huge"], "image_size is 'huge'"),
        (["plan", "smoke", "--set", "knn.kk=3"], "has no parameter 'kk'"),
        (["plan", "smoke", "--set", "budget.max_trian=3"], "Did you mean 'max_train'"),
        (["plan", "--backbone", "vit_smal_patch16_224.dino", "--data", "scenes"], "Did you mean 'vit_small"),
        (["plan", "--backbone", "tf_efficientnet_lite0.in1k", "--protocol", "lineer", "--data", "scenes"], "'linear'"),
        (["plan", "smoke", "--set", "lrs=[1e-3"], "is no YAML value"),
        (["plan", "smoke", "--set", "knn.temperature=.inf"], "expected a finite number"),
        (["plan", "smoke", "--set", "knn.k=.inf"], "expected a whole number"),
        (["plan", "smoke", "--set", "knn.k="], "expected a whole number"),
        (["plan", "smoke", "--set", "finetune.warmup=3"], "expected at most 1"),
        (["plan", "smoke", "--set", "tasks=foo"], "only a suite file can say it"),
        (["plan", "smoke", "--protocol", "knn"], "--protocol goes with --backbone"),
        (["plan", "smoke", "--weights", "nowhere"], "'nowhere' is not a folder"),
        (["plan", "smoke", "--cache", "/proc/nope"], "/proc/nope"),
        (["report", "--scale", "paper"], "name the suite as well"),
        (["list", "backbones", "--filter", "parms_m < 3"], "params_m"),
        (["show", "0123"], "no job of this store starts with it"),
        (["report", "--reference", "nothing", "smokey"], "smokey"),
        (["report", "--results", "nowhere"], "results folder 'nowhere' does not exist"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_one_job_needs_no_suite_file(capsys):
    flags = ["--backbone", "tf_efficientnet_lite0.in1k", "--task", "classification", "--protocol", "knn"]
    assert main(["plan", *flags, "--data", "scenes", "--set", "k=7", "--set", "image_size=96", "--json"]) == 0
    (job,) = json.loads(capsys.readouterr().out)
    assert (job["protocol"], job["image_size"], job["params"]["k"], job["state"]) == ("knn", 96, 7, "to run")


def test_a_size_on_the_command_line_is_every_tasks_size(capsys):
    assert main(["plan", "small_backbones", "--json"]) == 0
    assert {job["image_size"] for job in json.loads(capsys.readouterr().out)} >= {128, 160}
    assert main(["plan", "small_backbones", "--set", "image_size=224", "--json"]) == 0
    assert {job["image_size"] for job in json.loads(capsys.readouterr().out)} == {224}


def test_the_plan_says_what_cannot_run_and_why(capsys):
    assert main(["plan", "small_backbones", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)
    states = {job["backbone"]: job["state"] for job in jobs}
    assert states["tf_efficientnet_lite0.in1k"] == "to run"
    assert states["resnet50.a1_in1k"] == "skipped"
    assert all(job["reason"] for job in jobs if job["state"] == "skipped")


@pytest.mark.parametrize("what", ["backbones", "tasks", "protocols", "datasets", "suites"])
def test_every_listing_prints_as_a_table_and_as_json(what, capsys):
    assert main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert main(["list", what]) == 0
    assert f"{len(rows)} {what}." in capsys.readouterr().out


def test_an_empty_store_is_reported_without_a_fuss(capsys, tmp_path):
    (tmp_path / "results").mkdir()
    assert main(["status", "smoke"]) == 0
    assert "14 missing" in capsys.readouterr().out
    assert main(["report", "smoke"]) == 0


def test_settings_reach_suite_budget_and_protocols():
    data = {
        "tasks": [{"task": "classification", "protocols": ["linear", {"protocol": "knn", "params": {"k": 5}}]}],
        "budget": {"max_train": 10},
    }
    apply_settings(data, {"image_size": 96, "max_test": 7, "knn.k": 9, "budget.max_val": 3})
    linear, knn = data["tasks"][0]["protocols"]
    assert data["image_size"] == 96
    assert data["budget"] == {"max_train": 10, "max_test": 7, "max_val": 3}
    assert (linear["params"], knn["params"]) == ({}, {"k": 9})


def test_a_setting_for_a_protocol_the_suite_does_not_run_is_an_error():
    with pytest.raises(BobError, match=r"'kn' is not known\. Did you mean 'knn'"):
        apply_settings({"tasks": [{"task": "classification", "protocols": ["knn"]}]}, {"kn.k": 3})


def test_every_command_has_help_that_says_what_it_does():
    commands = next(action for action in build_parser()._actions if action.dest == "==SUPPRESS==" or action.choices)
    known = {
        "data",
        "list",
        "plan",
        "fetch",
        "run",
        "status",
        "logs",
        "cancel",
        "retry",
        "show",
        "report",
        "profile",
        "doctor",
    }
    assert set(commands.choices) == known
    for parser in commands.choices.values():
        assert parser.description


def test_a_parameter_goes_to_the_tasks_whose_protocol_has_it():
    tasks = [{"task": name, "protocols": ["linear"]} for name in ("classification", "ood_detection")]
    data = {"tasks": tasks, "budget": {}}
    apply_settings(data, {"linear.odin": True})
    assert [entry["params"] for task in data["tasks"] for entry in task["protocols"]] == [{}, {"odin": True}]
    apply_settings(data, {"linear.l2": [0.1]})
    assert all(entry["params"]["l2"] == [0.1] for task in data["tasks"] for entry in task["protocols"])
