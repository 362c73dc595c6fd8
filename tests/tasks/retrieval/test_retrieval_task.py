"""Retrieval: queries that the data alone decide, junk that counts nowhere, features that other jobs made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from classification_jobs import CONTROL, LITE0, NAMES, context_of, job_of, picture, write_folder
from data_helpers import coco_content, coco_folder
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

from bob.backbones.loader import estimate_batch_norm
from bob.core.errors import DataError, SuiteError
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.pictures import open_split
from bob.data.splits import draw_queries
from bob.jobs.context import Context
from bob.jobs.job import Budget, Job
from bob.jobs.needs import features_need
from bob.jobs.plan import Plan, expand
from bob.jobs.row import BY_NAME
from bob.jobs.run import run_job
from bob.jobs.suite import check_suite
from bob.metrics.interval import mean_interval
from bob.probes.feature_files import FeatureSet, load_features
from bob.store import ResultStore
from bob.tasks.artifact_makers import make
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.result import TaskResult
from bob.tasks.retrieval import retrieval_protocols as retrieval
from bob.tasks.retrieval.retrieval_spec import METRICS, RETRIEVAL
from bob.tasks.setup import Setup

COUNTS = {"train": 6, "val": 3, "test": 11}
ALONE = "alone"  # a class of a single test picture
GIVEN = {f"map_{difficulty}" for difficulty in ("easy", "medium", "hard")}
KINDS = [0, 1, 2] * 4  # of the revisited gallery's pictures: checks, dots, stripes
QUERIES = {
    "first": {"easy": [0, 3], "hard": [6, 10], "junk": [9]},
    "second": {"easy": [1], "hard": [], "junk": [4, 7]},
    "third": {"easy": [], "hard": [2, 11], "junk": []},
    "fourth": {"easy": [], "hard": [], "junk": [5]},
}
Made = tuple[Path, Context, list[str]]


def write_revisited(root: Path, queries: dict[str, dict[str, list[int]]]) -> Path:
    """Write a folder as of ROxford: the gallery's textures, and queries that are cut out of larger pictures."""
    rng, names = np.random.default_rng(1), [f"picture_{place:02d}" for place in range(len(KINDS))]
    (root / "jpg").mkdir(parents=True)
    for name, kind in [*zip(names, KINDS, strict=True), *zip(queries, [0, 1, 2, 2], strict=False)]:
        picture(kind, rng).save(root / "jpg" / f"{name}.jpg")
    gnd = [{**judged, "bbx": [4, 4, 44, 40]} for judged in queries.values()]
    (root / "gnd.json").write_text(json.dumps({"imlist": names, "qimlist": list(queries), "gnd": gnd}))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Textures in classes, one of them of a single test picture; textures with given queries; phases seen."""
    root = tmp_path_factory.mktemp("retrieval")
    write_folder(root / "textures", counts=COUNTS)
    rng = np.random.default_rng(9)
    for split in COUNTS:
        (root / "textures" / split / ALONE).mkdir()
        picture(0, rng).save(root / "textures" / split / ALONE / "0.png")
    write_revisited(root / "given", QUERIES)
    phases: list[str] = []
    return root, context_of(root, progress=lambda phase, done, total: phases.append(phase)), phases


@pytest.fixture(scope="module")
def job_with(made: Made) -> Callable[..., Job]:
    root, context, _ = made

    def build(data: str = "textures", **settings) -> Job:
        named = f"revisited:{root / data}" if data == "given" else root / data
        return job_of(named, context, "cosine", **{"task": RETRIEVAL, "size": 32, **settings})

    return build


@pytest.fixture(scope="module")
def found(made: Made, job_with: Callable[..., Job]) -> dict[str, TaskResult]:
    """The results of a pretrained backbone and of a random one on both data sets."""
    return {
        f"{data} {backbone}": retrieval.cosine(job_with(data, backbone=backbone), made[1])
        for data in ("textures", "given")
        for backbone in (LITE0, CONTROL)
    }


def features_of(job: Job, context: Context) -> FeatureSet:
    return load_features(make(features_need(job), job, context))


def places_of(names, ids) -> list[int]:
    return [ids.index(name) for name in names]


@pytest.mark.parametrize("backbone", [LITE0, CONTROL])
def test_the_score_is_the_mean_of_scikit_learns_average_precision_per_query(made, job_with, found, backbone):
    test = features_of(job_with(backbone=backbone), made[1])["test"]
    result = found[f"textures {backbone}"]
    asked = places_of(result.outcomes["sample_id"], test.ids)
    rest = np.setdiff1d(np.arange(len(test.ids)), asked)
    scores = cosine_similarity(np.float64(test.features[asked]), np.float64(test.features[rest]))
    right = test.labels[asked][:, None] == test.labels[rest]
    expected = [average_precision_score(truth, score) for truth, score in zip(right, scores, strict=True)]
    assert result.outcomes["outcome"] == pytest.approx(expected, abs=1e-6)
    assert result.score == result.metrics["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert (result.score_low, result.score_high) == mean_interval(result.outcomes["outcome"])
    ranked = np.take_along_axis(right, (-scores).argsort(axis=1), axis=1)
    assert result.outcomes["first_place"].tolist() == (ranked.argmax(axis=1) + 1).tolist()
    assert result.metrics["mrr"] == pytest.approx((1 / (ranked.argmax(axis=1) + 1)).mean())
    for k in (1, 5, 10):
        assert result.metrics[f"recall_at_{k}"] == pytest.approx(ranked[:, :k].any(axis=1).mean())
        assert result.metrics[f"precision_at_{k}"] == pytest.approx(ranked[:, :k].mean())
    assert set(result.metrics) == set(METRICS) - GIVEN


def test_a_fifth_of_each_class_asks_and_a_class_of_one_picture_only_answers(found):
    result = found[f"textures {LITE0}"]
    asked = [name.split("/")[1] for name in result.outcomes["sample_id"]]
    assert {name: asked.count(name) for name in (*NAMES, ALONE)} == {**dict.fromkeys(NAMES, 11 // 5), ALONE: 0}
    counts = {"n_queries": 6, "n_gallery": 28, "n_test": 34, "n_classes": 4, "classes_without_queries": 1}
    assert {**counts, "queries_without_positives": 0}.items() <= result.notes.items()


def test_every_backbone_is_asked_the_same_queries(found):
    for data in ("textures", "given"):
        pretrained, random = (found[f"{data} {backbone}"].outcomes["sample_id"] for backbone in (LITE0, CONTROL))
        assert pretrained.tolist() == random.tolist()
        assert found[f"{data} {LITE0}"].score > found[f"{data} {CONTROL}"].score


def test_queries_follow_the_ids_alone_and_keep_to_their_caps():
    labels = np.repeat([0, 1, 2, 3, 4], [1000, 24, 4, 2, 1])
    ids = [f"{label}/{number}" for number, label in enumerate(labels)]
    queries, gallery = draw_queries(ids, labels, most=50)
    assert np.bincount(labels[queries], minlength=5).tolist() == [50, 4, 1, 1, 0]
    assert sorted([*queries, *gallery]) == list(range(len(ids)))
    order = np.random.default_rng(0).permutation(len(ids))
    again, _ = draw_queries([ids[place] for place in order], labels[order], most=50)
    assert {ids[order[place]] for place in again} == {ids[place] for place in queries}
    few, rest = draw_queries(ids, labels, most=50, per_class=10)
    assert np.bincount(labels[few]).tolist() == [2, 2, 1, 1]
    assert np.bincount(labels[rest]).tolist() == [8, 8, 3, 1, 1]


def test_caps_on_queries_and_pictures_of_a_class_reach_the_score(made, job_with):
    context = made[1]
    one = retrieval.cosine(job_with(queries_per_class=1), context)
    assert (one.notes["n_queries"], one.notes["n_gallery"]) == (3, 31)
    few = retrieval.cosine(job_with(pictures_per_class=5), context)
    assert (few.notes["n_queries"], few.notes["n_gallery"]) == (3, 13)


def test_the_features_are_those_of_the_linear_probe_made_once(made, tmp_path):
    phases: list[str] = []
    context = context_of(tmp_path, progress=lambda phase, done, total: phases.append(phase))
    budget = Budget(max_train=8, max_val=4, max_test=12)
    settings = {"size": 32, "budget": budget}
    result = retrieval.cosine(job_of(made[0] / "textures", context, "cosine", task=RETRIEVAL, **settings), context)
    classification.linear(job_of(made[0] / "textures", context, "linear", **settings), context)
    assert [phases.count(f"features of {split}") for split in ("train", "val", "test")] == [1, 1, 1]
    assert result.notes["n_test"] == 12


def authors_ap(scores: np.ndarray, positives: list[int], junk: list[int]) -> tuple[float, list[int]]:
    """Return the area under the precision-recall curve of one sorted gallery, and the positives' places from 0."""
    ranking = [place for place in np.argsort(-scores, kind="stable") if place not in junk]
    places = [rank for rank, place in enumerate(ranking) if place in positives]
    area = 0.0
    for number, rank in enumerate(places):
        before = number / rank if rank else 1.0
        area += (before + (number + 1) / (rank + 1)) / 2 / len(places)
    return area, places


def difficulty_of(name: str, judged: dict[str, list[int]]) -> tuple[list[int], list[int]]:
    easy, hard, junk = judged["easy"], judged["hard"], judged["junk"]
    return {"easy": (easy, junk + hard), "medium": (easy + hard, junk), "hard": (hard, junk + easy)}[name]


@pytest.mark.parametrize("backbone", [LITE0, CONTROL])
def test_given_queries_are_scored_at_all_three_difficulties_without_their_junk(made, job_with, found, backbone):
    test = features_of(job_with("given", backbone=backbone), made[1])["test"]
    result = found[f"given {backbone}"]
    features = np.float64(test.features)
    scores = cosine_similarity(features[len(KINDS) :], features[: len(KINDS)])
    expected = {}
    for name in ("easy", "medium", "hard"):
        sides = [difficulty_of(name, judged) for judged in QUERIES.values()]
        each = [authors_ap(row, *side) for row, side in zip(scores, sides, strict=True) if side[0]]
        expected[name] = [area for area, _ in each]
        assert result.metrics[f"map_{name}"] == pytest.approx(np.mean(expected[name]), abs=1e-9)
        if name == "medium":
            assert result.outcomes["first_place"].tolist() == [places[0] + 1 for _, places in each]
    assert result.score == result.metrics["map"] == result.metrics["map_medium"]
    assert result.outcomes["outcome"] == pytest.approx(expected["medium"], abs=1e-9)
    assert [name.split("/")[-1] for name in result.outcomes["sample_id"]] == ["first", "second", "third"]
    counts = {"n_queries": 3, "queries_without_positives": 1, "n_gallery": 12, "n_test": 16}
    assert counts.items() <= result.notes.items() and "n_classes" not in result.notes
    assert set(result.metrics) == set(METRICS)


def test_a_capped_set_with_given_queries_is_scored_on_what_is_left_of_its_truth(made, job_with):
    job = job_with("given", budget=Budget(max_test=10))
    test, result = features_of(job, made[1])["test"], retrieval.cosine(job, made[1])
    kept = [name for name in test.ids if not name.startswith("query/")]
    moved = {int(name[-6:-4]): place for place, name in enumerate(kept)}
    features = np.float64(test.features)
    scores = cosine_similarity(features[len(kept) :], features[: len(kept)])
    expected = []
    for row, name in zip(scores, test.ids[len(kept) :], strict=True):
        sides = difficulty_of("medium", QUERIES[name.split("/")[-1]])
        positives, junk = ([moved[place] for place in side if place in moved] for side in sides)
        expected += [authors_ap(row, positives, junk)[0]] if positives else []
    assert result.notes["n_gallery"] == len(kept) < len(KINDS)
    assert result.outcomes["outcome"] == pytest.approx(expected, abs=1e-9)


def test_a_difficulty_without_anything_to_find_has_no_number(tmp_path):
    root = write_revisited(tmp_path / "set", {"first": {"easy": [0], "hard": [], "junk": [1]}})
    context = context_of(tmp_path)
    result = retrieval.cosine(job_of(f"revisited:{root}", context, "cosine", task=RETRIEVAL, size=32), context)
    assert "map_hard" not in result.metrics and result.metrics["map_easy"] == result.metrics["map"]


def test_without_train_a_control_takes_its_statistics_from_the_gallery(made, job_with):
    context, job = made[1], job_with("given", backbone=CONTROL)
    features, setup = features_of(job, context), Setup.of(job, context)
    assert features.meta["batch_norm_estimated"] is True and features.meta["splits"] == ["test"]
    test = open_split(setup.spec, "test", annotation="retrieval", cache_dir=context.cache_dir)
    model = setup.model()
    with setup.batches(test.among(np.arange(len(test)) < len(KINDS))) as batches:
        estimate_batch_norm(model, (images for images, _ in batches.batches(0)))
    with setup.batches(test) as batches, torch.inference_mode():
        expected = torch.cat([model.eval()(images) for images, _ in batches.evaluation()]).numpy()
    np.testing.assert_allclose(features["test"].features, expected, rtol=1e-3, atol=1e-4)


def test_labelled_pictures_that_are_all_test_can_be_searched_but_not_learnt_from(made, tmp_path):
    phases: list[str] = []
    context = context_of(tmp_path, progress=lambda phase, done, total: phases.append(phase))
    shutil.copytree(made[0] / "textures" / "test", tmp_path / "only" / "test")
    settings = {"backbone": CONTROL, "size": 32, "budget": Budget(max_test=15)}
    with pytest.raises(DataError, match="data set 'only' has no split 'train', only test"):
        classification.linear(job_of(tmp_path / "only", context, "linear", **settings), context)
    assert not phases, "nobody waits for a pass that is in vain"
    result = retrieval.cosine(job_of(tmp_path / "only", context, "cosine", task=RETRIEVAL, **settings), context)
    assert result.notes["n_test"] == 15 and set(phases) == {"features of test"}


def test_a_test_set_without_two_pictures_of_a_class_is_named(made, job_with):
    with pytest.raises(DataError, match="'textures': no class has two of the 4 test pictures used") as caught:
        retrieval.cosine(job_with(budget=Budget(max_test=4)), made[1])
    assert "max_test" in str(caught.value.hint)


def test_queries_that_have_nothing_to_find_give_no_score(tmp_path):
    root = write_revisited(tmp_path / "set", {"first": {"easy": [], "hard": [], "junk": [1]}})
    context = context_of(tmp_path)
    with pytest.raises(DataError, match="none of 1 queries has a positive"):
        retrieval.cosine(job_of(f"revisited:{root}", context, "cosine", task=RETRIEVAL, size=32), context)


@pytest.mark.parametrize("data", ["textures", "given"])
def test_the_row_has_every_column_and_its_outcomes_average_to_the_score(made, job_with, found, data):
    context, job = made[1], job_with(data)
    row = run_job(job, context)
    assert (row["metric"], row["score"], row["map"]) == ("map", *[found[f"{data} {LITE0}"].score] * 2)
    assert set(row) <= set(BY_NAME)
    kept = ResultStore(context.results_dir).outcomes(job.id)
    assert kept is not None and kept["outcome"].mean() == pytest.approx(row["score"], abs=1e-12)
    assert kept["sample_id"].is_unique and len(kept) == row["n_queries"]


SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.in1k]
datasets: ["{data}"]
tasks:
  - {{task: {task}, protocols: [{protocol}]}}
image_size: 32
"""


def plan(tmp_path: Path, data: str, task: str = "retrieval", protocol: str = "cosine") -> Plan:
    source = parse_yaml(SUITE.format(data=data, task=task, protocol=protocol), name="mine.yaml")
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    return expand(check_suite(source), source, settings)


def test_one_task_takes_labelled_pictures_and_given_queries(made, tmp_path):
    (labelled,) = plan(tmp_path, str(made[0] / "textures")).jobs
    (given,) = plan(tmp_path, f"revisited:{made[0] / 'given'}").jobs
    (linear,) = plan(tmp_path, str(made[0] / "textures"), "classification", "linear").jobs
    assert features_need(labelled).key == features_need(linear).key
    assert {dict(job.params)["queries_per_class"] for job in (labelled, given)} == {50}
    assert 0 < (given.estimate_s or 0) < (labelled.estimate_s or 0), "a train split that is not there costs nothing"


def test_data_that_have_neither_are_refused_with_what_is_needed(made, tmp_path):
    coco_folder(tmp_path / "boxes", {split: coco_content(2) for split in COUNTS})
    with pytest.raises(SuiteError, match="task 'retrieval' needs data with annotation 'label' or 'retrieval'"):
        plan(tmp_path, str(tmp_path / "boxes"))
    with pytest.raises(SuiteError, match=r"task 'classification' needs data with annotation 'label': .* has retrieval"):
        plan(tmp_path, f"revisited:{made[0] / 'given'}", "classification", "linear")
