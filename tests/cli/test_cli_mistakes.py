"""Mistakes in what is asked are told before anything runs: exit 2, one message, no row. And how lists look."""

from __future__ import annotations

import logging
import re

import pytest

import bob
from bob.cli import main
from bob.core.errors import ConfigError
from bob.core.text import OnceFilter

LITE0 = "tf_efficientnet_lite0.random"


def run(tmp_path, *arguments):
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache"), "--display", "none"]
    return main(["run", "--backbone", LITE0, *arguments, *folders])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "the name of a data set is empty"),
        ("./nowhere/pets", "there is no such folder"),
        ("folder:./nowhere/pets", "is not there"),
        ("coco:/nowhere", "nowhere"),
    ],
)
def test_data_that_are_named_for_a_run_and_are_not_there_are_a_mistake(tmp_path, capsys, data, said):
    assert run(tmp_path, "--data", data) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "results" / "records").exists()


@pytest.mark.parametrize("minutes", ["-1", "0", "nan", "soon"])
def test_a_time_that_is_none_is_refused_before_any_job(tmp_path, capsys, minutes):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "--data", "scenes", "--timeout-min", minutes)
    assert ended.value.code == 2 and "--timeout-min" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_same_time_is_refused_from_python(tmp_path):
    with pytest.raises(ConfigError, match="timeout_min is -1: expected more than 0 minutes"):
        bob.run(backbones=[LITE0], data="scenes", results=tmp_path / "results", timeout_min=-1)


def test_results_that_are_a_file_are_refused_in_the_plan(tmp_path, capsys):
    (tmp_path / "results").write_text("")
    assert run(tmp_path, "--data", "scenes") == 2
    assert "is a file" in capsys.readouterr().err


def test_the_bare_command_shows_its_help(capsys):
    assert main([]) == 0
    assert "usage: bob" in capsys.readouterr().out


def test_a_profiles_figures_have_no_exponent(tmp_path, capsys, monkeypatch):
    figures = {"profile_others_cpu": 8.71e-05, "gmacs": 123456.7, "profile_rounds": 6}
    monkeypatch.setattr("bob.training.profiling.measure_profile", lambda backbone, where: figures)
    assert main(["profile", LITE0, "--image-size", "32", "--cache", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "0.0000871" in said and "123500" in said and "e-" not in said.replace("profile-", "")


@pytest.mark.parametrize("what", ["backbones", "protocols", "heads", "suites", "datasets"])
def test_a_list_has_one_line_an_entry_in_a_pipe_and_in_80_columns(what, capsys, monkeypatch):
    assert main(["list", what]) == 0
    piped = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(piped) and piped[-1].endswith(f" {what}.")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", what]) == 0
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    count = int(piped[-1].split()[0])
    assert len(piped) == len(narrow) == count + 2
    assert max(map(len, narrow)) <= 80
    assert [line.split()[0] for line in narrow[1:-1]] == [line.split()[0] for line in piped[1:-1]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "seeds=abc"], "error: --set seeds=abc: seeds is 'abc'"),
        (["--set", "budget.max_train=x"], "error: --set budget.max_train=x: budget.max_train is 'x'"),
        (["--set", "max_train=x"], "error: --set max_train=x: budget.max_train is 'x'"),
        (["--set", "knn.k=-3"], ", with --set knn.k=-3: parameter 'k' of protocol 'knn' is -3"),
        (["--data", "nothing"], "error: --data: data set 'nothing' is not known"),
        (["--dry-run"], "'bob plan' shows what would run on this machine"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_of_the_command_line(tmp_path, capsys, arguments, said):
    assert main(["run", "smoke", *arguments, "--results", str(tmp_path / "results")]) == 2
    assert said in capsys.readouterr().err


def test_a_mistake_in_the_file_keeps_its_line_beside_a_setting(tmp_path, capsys):
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "name: mine\nbackbones: [resnet18.random]\ndatasets: [nowhere]\n"
        "tasks: [{task: classification, protocols: [knn]}]\n"
    )
    assert main(["plan", str(suite), "--set", "image_size=64", "--results", str(tmp_path / "results")]) == 2
    assert f"{suite}:3: data set 'nowhere'" in capsys.readouterr().err


def test_a_warning_is_told_once():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%d files", (3,), None)
    seen = OnceFilter()
    assert [seen.filter(record), seen.filter(record)] == [True, False]
