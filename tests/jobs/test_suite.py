"""Suite files: what is wrong is named by file and line, with what was expected; the published schema is the code's."""

from __future__ import annotations

import json
import re

import jsonschema
import pydantic
import pytest
from places import REPOSITORY

from bob.core.errors import SuiteError
from bob.core.yaml_source import parse_yaml
from bob.jobs.suite import at_scale, check_suite, read_suite
from bob.jobs.suite_schema import json_schema

GOOD = """\
name: mine
backbones:
  - resnet50.a1_in1k
  - where: {params_m: "< 30", family: vit}
datasets: [scenes]
tasks:
  - task: classification
    protocols:
      - linear
      - {protocol: knn, params: {k: 5}}
scales:
  paper: {image_size: 224, seeds: [0, 1, 2]}
"""


def check(text: str):
    return check_suite(parse_yaml(text, name="mine.yaml"))


def test_a_good_suite_is_read_and_its_scale_replaces_only_what_it_names():
    suite = check(GOOD)
    paper = at_scale(suite, "paper")
    assert (suite.image_size, paper.image_size, paper.seeds) == (224, 224, [0, 1, 2])
    assert paper.tasks == suite.tasks
    assert at_scale(suite, None) is suite


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("datasets:", "dataset:", 5, r"key 'dataset' is not known. Did you mean 'datasets'\?"),
        ("protocols:", "protocls:", 8, "key 'protocls' is not known"),
        ("params: {k: 5}", "param: {k: 5}", 10, "Did you mean 'params'"),
        ("image_size: 224", "image_size: big", 12, "scales.paper.image_size is 'big'"),
        ("seeds: [0, 1, 2]", "seeds: [0, x]", 12, "seeds.1 is 'x': input should be a valid integer"),
        ("name: mine", "name: ../../etc", 1, "name is '../../etc'"),
        ("where:", "wher:", 4, "Did you mean 'where'"),
        ("datasets: [scenes]", "datasets: []", 5, "at least 1 item"),
    ],
)
def test_every_fault_names_file_line_and_what_was_expected(old, new, line, said):
    assert old in GOOD
    with pytest.raises(SuiteError, match=said) as caught:
        check(GOOD.replace(old, new))
    assert f"mine.yaml:{line}: " in str(caught.value)


def test_several_faults_are_named_at_once():
    with pytest.raises(SuiteError) as caught:
        check(GOOD.replace("datasets:", "dataset:").replace("image_size: 224", "image_size: 1"))
    assert str(caught.value).count("mine.yaml:") == 3  # the unknown key, the missing one, the size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "not valid YAML"),
        ("name: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("name: a\nname: b\n", "mine.yaml:2: key 'name' stands twice"),
        ("- a\n- b\n", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_and_runs_no_code(text, said):
    with pytest.raises(SuiteError, match=said):
        check(text)


def test_an_unknown_scale_offers_the_closest():
    with pytest.raises(SuiteError, match=r"no scale 'papr'\. Did you mean 'paper'"):
        at_scale(check(GOOD), "papr")


def test_a_missing_file_is_an_error_with_a_next_step(tmp_path):
    with pytest.raises(SuiteError, match="cannot be read") as caught:
        read_suite(tmp_path / "none.yaml")
    assert "bob list suites" in str(caught.value)


def test_the_published_schema_is_the_one_the_code_checks():
    pinned = re.search(r"^pydantic==(\d+\.\d+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]
    if pydantic.VERSION.split(".")[:2] != pinned.split("."):
        pytest.skip(f"pydantic {pydantic.VERSION} words its schema otherwise than {pinned}, which wrote the published")
    published = json.loads((REPOSITORY / "suites" / "schema.json").read_text())
    assert published == json_schema(), "run 'make schema'"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_suite_of_the_project_is_valid_at_every_scale(path):
    suite = check_suite(read_suite(path))
    assert suite.name == path.stem
    for name in [None, *suite.scales]:
        assert at_scale(suite, name).backbones


@pytest.mark.parametrize("path", sorted((REPOSITORY / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_every_shipped_suite(path):
    jsonschema.validate(read_suite(path).data, json_schema())


@pytest.mark.parametrize(
    ("params", "fits"),
    [
        ({"k": 5}, True),
        ({"kk": 5}, False),
        ({"k": 0}, False),
        ({"k": "many"}, False),
    ],
)
def test_the_schema_knows_the_parameters_of_each_protocol(params, fits):
    entry = {"task": "classification", "protocols": [{"protocol": "knn", "params": params}]}
    suite = {"name": "mine", "backbones": ["a.b"], "datasets": ["scenes"], "tasks": [entry]}
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(suite) == fits
