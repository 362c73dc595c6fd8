"""Multi-label classification: what is not known counts nowhere, rows say how, jobs on the same pictures pair."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from classification_jobs import CONTROL, LITE0, NAMES, context_of, job_of, picture
from data_helpers import coco_content, coco_folder
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

from bob.core.errors import DataError
from bob.core.registry import load_reference
from bob.data.multilabel_pictures import open_whole
from bob.jobs.job import Budget
from bob.jobs.needs import features_need, multilabel_features_need, needs_of
from bob.jobs.row import BY_NAME
from bob.reporting.comparison import interval_error
from bob.reporting.paired import Run, pair
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.multilabel import multilabel_protocols as multilabel
from bob.tasks.multilabel.multilabel_spec import METRICS, MULTILABEL, lacking

COUNTS = {"train": 48, "val": 24, "test": 40}
SIDE = 48
SMALL = {
    "finetune": {"size": 32, "budget": Budget(images_seen=48, trials=2), "batch_size": 12},
    "linear": {},
    "knn": {"k": 5},
}


def write_tiles(root: Path) -> Path:
    """Write COCO data of four tiles a picture, three of which may hold a faint texture; three textures are crowds."""
    rng = np.random.default_rng(3)
    for split, count in COUNTS.items():
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": k + 1, "name": n} for k, n in enumerate(NAMES)],
        }
        (root / split).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(rng.normal(128, 25, (SIDE * 2, SIDE * 2, 3)).clip(0, 255).astype(np.uint8))
            shown = [kind for kind in range(3) if rng.random() < 0.45]
            for place, kind in enumerate(shown):
                corner = (place % 2 * SIDE, place // 2 * SIDE)
                under = image.crop((*corner, corner[0] + SIDE, corner[1] + SIDE))
                image.paste(Image.blend(under, picture(kind, rng, SIDE), 0.1), corner)
                crowd = int(number < 3 and place == 0)
                box = {"bbox": [*corner, SIDE, SIDE], "area": SIDE**2, "iscrowd": crowd}
                one = {"id": len(content["annotations"]) + 1, "image_id": number + 1, "category_id": kind + 1}
                content["annotations"].append(one | box)
            image.save(root / split / f"{number:03d}.png")
            named = {"id": number + 1, "file_name": f"{number:03d}.png", "width": SIDE * 2, "height": SIDE * 2}
            content["images"].append(named)
        (root / f"{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("multilabel") / "tiles")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory):
    return context_of(tmp_path_factory.mktemp("work"))


def result_of(data, context, protocol, **more):
    job = job_of(data, context, protocol, task=MULTILABEL, **SMALL[protocol], **more)
    return job, load_reference(MULTILABEL.protocols[protocol].run)(job, context)


@pytest.mark.parametrize("protocol", MULTILABEL.protocols)
def test_the_score_is_the_outcomes_average_precision_and_the_row_says_how(data, context, protocol):
    job, result = result_of(data, context, protocol)
    pictures = open_whole(job.dataset_spec, "test", annotation="multilabel", cache_dir=context.cache_dir)
    values = dict(zip(pictures.ids, pictures.values, strict=True))
    outcomes = result.outcomes
    assert list(outcomes["sample_id"]) == sorted(pictures.ids)
    truth = np.stack([values[name] for name in outcomes["sample_id"]])
    found = np.stack(list(outcomes["probability"])).astype(float)
    assert [np.flatnonzero(row == 1).tolist() for row in truth] == list(outcomes["present"])
    assert [np.flatnonzero(np.isnan(row)).tolist() for row in truth] == list(outcomes["unknown"])
    assert sum(map(len, outcomes["unknown"])) > 0
    known = ~np.isnan(truth)
    each = [average_precision_score(truth[known[:, c], c], found[known[:, c], c]) for c in range(3)]
    assert result.score == pytest.approx(np.mean(each), abs=1e-6)
    assert json.loads(result.notes["per_class"]) == pytest.approx(dict(zip(NAMES, each, strict=True)), abs=1e-6)
    micro = f1_score(truth[known], found[known] >= np.float32(result.hparams["threshold"]))
    assert result.metrics["micro_f1"] == pytest.approx(micro, abs=1e-6)
    assert set(result.metrics) == set(METRICS) <= set(BY_NAME)
    assert result.score_low <= result.score <= result.score_high and len(result.replicates) == 1000
    facts = {"n_train": 48, "n_val": 24, "n_test": 40, "n_classes": 3, "classes_left_out": 0, "classes_untrained": 0}
    assert facts.items() <= result.notes.items() and set(result.notes) <= set(BY_NAME)
    if protocol != "knn":
        best = max(result.search, key=lambda tried: (tried["val_score"], -tried["val_loss"]))
        name = "lr" if protocol == "finetune" else "l2"
        assert result.hparams[name] == best[name] and result.notes["grid_edge"] in (True, False)
    if protocol != "finetune":
        assert result.score > 0.7


def test_probes_share_one_pass_which_is_not_that_of_single_labels(data, context):
    jobs = [job_of(data, context, protocol, task=MULTILABEL) for protocol in ("linear", "knn")]
    keys = {need.key for job in jobs for need in needs_of(job) if need.kind == "features"}
    assert keys == {multilabel_features_need(jobs[0]).key} and keys != {features_need(jobs[0]).key}


def test_two_backbones_pair_on_their_resampled_scores(data, context):
    results = {name: result_of(data, context, "linear", backbone=name)[1] for name in (LITE0, CONTROL)}
    runs = {}
    for name, result in results.items():
        table = pd.DataFrame({"sample_id": result.outcomes["sample_id"]})
        table.attrs["replicates"] = result.replicates
        runs[name] = [Run(result.score, table, interval_error(vars(result)))]
    paired = pair(runs)
    assert (paired.reason, paired.missing, paired.samples) == (None, {}, 40)
    assert paired.scores == {name: result.score for name, result in results.items()}
    both = paired.covariance[0, 1] / np.sqrt(paired.covariance[0, 0] * paired.covariance[1, 1])
    assert 0 < both < 1, "the same pictures are drawn for both"


def test_what_is_not_known_has_neither_loss_nor_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    values = torch.tensor([[1, 0, torch.nan], [0, 1, 1], [torch.nan] * 3, [1, 1, 0]])
    loss = multilabel.masked_cross_entropy(logits, values)
    known = ~values.isnan()
    whole = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], values[known], reduction="sum")
    assert loss.item() == pytest.approx(whole.item() / 3, rel=1e-6)
    loss.backward()
    assert (logits.grad[~known] == 0).all() and (logits.grad[known] != 0).all()


def test_data_that_test_nothing_are_told_while_planning(tmp_path):
    counts = (("train", 8), ("val", 4), ("test", 4))
    root = coco_folder(tmp_path / "alike", {split: coco_content(count) for split, count in counts})
    context = context_of(tmp_path)
    job = job_of(root, context, "linear", task=MULTILABEL)
    assert (
        lacking(job)
        == "alike has no class that some pictures of train show and others lack: any ranking of them is right"
    )
    spec = replace(job.dataset_spec, contrasted=(), sizes=(("train", 8), ("test", 4)))
    assert "alike has no picture in val" in lacking(replace(job, dataset_spec=spec))
    assert lacking(replace(job, dataset_spec=None)) is None
    with pytest.raises(DataError, match="no class that some of the 8 train pictures used show"):
        multilabel.linear(job, context)


def test_pictures_used_without_contrast_are_refused_before_anything_is_trained(data, context):
    for protocol in ("linear", "finetune"):
        job = job_of(data, context, protocol, task=MULTILABEL, budget=Budget(max_val=1, images_seen=12, trials=1))
        with pytest.raises(DataError, match=r"some of the 1 val pictures used .*"):
            load_reference(MULTILABEL.protocols[protocol].run)(job, context)


def test_parameters_are_those_of_classification_but_for_the_smoothing():
    own, other = (
        {name: dict(p.resolve({})) for name, p in task.protocols.items()} for task in (MULTILABEL, CLASSIFICATION)
    )
    del other["finetune"]["label_smoothing"]
    assert own == {name: other[name] for name in own}
    assert all(MULTILABEL.protocols[name].budget == CLASSIFICATION.protocols[name].budget for name in own)
