"""Frozen-feature protocols: one pass serves all, rows say how the number came about, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from classification_jobs import CONTROL, COUNTS, LITE0, NAMES, context_of, job_of, write_folder

from bob.backbones import catalogue
from bob.backbones.loader import BackboneModel, build_backbone
from bob.core.errors import BobError, ConfigError, DataMissingError, NumericalError
from bob.core.registry import load_reference
from bob.data.pictures import open_split
from bob.data.transforms import eval_transform
from bob.jobs.job import Budget, Need
from bob.jobs.needs import needs_of
from bob.probes.feature_files import load_features
from bob.tasks.artifact_makers import make
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification.classification_spec import CLASSIFICATION

PROBES = ("linear", "knn", "fewshot")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("textures"))


def features_need(job) -> Need:
    return next(need for need in needs_of(job) if need.kind == "features")


@pytest.mark.parametrize("protocol", CLASSIFICATION.protocols.values(), ids=lambda protocol: protocol.name)
def test_every_protocol_names_a_function_that_is_there(protocol):
    assert callable(load_reference(protocol.run))
    assert protocol.name == protocol.run.partition(":")[2]


def test_one_pass_over_the_pictures_serves_every_probe(data, tmp_path):
    phases = []
    context = context_of(tmp_path, progress=lambda phase, done, total: phases.append(phase))
    results = {name: getattr(classification, name)(job_of(data, context, name), context) for name in PROBES}
    assert [phases.count(f"features of {split}") for split in ("train", "val", "test")] == [2, 1, 1]
    for name, result in results.items():
        outcomes = result.outcomes
        assert set(outcomes) == {"sample_id", "label", "prediction", "confidence", "confidence_scaled", "outcome"}
        assert {len(column) for column in outcomes.values()} == {len(NAMES) * COUNTS["test"]}
        assert result.score == pytest.approx(outcomes["outcome"].mean())
        assert result.score_low <= result.score <= result.score_high
        assert set(result.metrics) == set(CLASSIFICATION.metrics)
        assert result.score > 0.6, name
        facts = {"n_train": 36, "n_val": 18, "n_test": 24, "n_classes": 3, "dropped_pictures": 0, "precision": "fp32"}
        assert facts.items() <= result.notes.items()
        assert (result.notes["pooling"], result.notes["interpolation"]) == ("mean", "bicubic")
    assert results["linear"].notes["grid_edge"] in (True, False)
    assert len(results["linear"].search) == 10


def test_each_broken_picture_counts_once_and_what_is_no_picture_not_at_all(tmp_path):
    root = write_folder(tmp_path / "set")
    (root / "train" / NAMES[0] / "broken.png").write_bytes(b"")
    for split in COUNTS:
        (root / split / NAMES[1] / "Thumbs.db").write_text("thumbs")
    context = context_of(tmp_path)
    result = classification.linear(job_of(root, context, "linear"), context)
    assert result.notes["dropped_pictures"] == 1


def test_features_are_the_models_pooled_output_on_the_evaluation_transform(data, tmp_path):
    context = context_of(tmp_path)
    job = job_of(data, context, "linear", budget=Budget(max_train=6, max_val=3, max_test=3))
    features = load_features(make(features_need(job), job, context))
    pictures = open_split(job.dataset_spec, "test", cap=3, cache_dir=context.cache_dir)
    model = build_backbone(catalogue.find(LITE0), weights_path=Path(job.weights_path), image_size=64, seed=0)
    batch = torch.stack([eval_transform(job.input)(pictures.load(index)) for index in range(3)])
    with torch.no_grad():
        expected = model(batch).numpy()
    assert features["test"].ids == pictures.ids
    assert np.array_equal(features["test"].labels, pictures.labels)
    assert isinstance(features["test"].features, np.memmap)
    np.testing.assert_allclose(features["test"].features, expected, atol=2e-5)
    assert features.meta["width"] == expected.shape[1]
    assert features.meta["pictures_per_s"] > 0
    assert features.meta["infer_peak_mb"] > 0


def test_a_control_gets_batch_norm_statistics_and_follows_its_seed(data, tmp_path):
    context = context_of(tmp_path)
    sets = []
    for seed in (0, 1):
        job = job_of(data, context, "knn", backbone=CONTROL, seed=seed, size=32)
        sets.append(load_features(make(features_need(job), job, context)))
    assert all(features.meta["batch_norm_estimated"] for features in sets)
    assert not np.allclose(sets[0]["test"].features, sets[1]["test"].features)
    assert float(np.std(sets[0]["train"].features)) > 0.05, "without statistics the last layer's outputs vanish"


def test_features_that_are_not_finite_name_the_picture_and_leave_no_artifact(data, tmp_path, monkeypatch):
    def broken(self: BackboneModel, pictures: torch.Tensor) -> torch.Tensor:
        outputs = torch.zeros(len(pictures), 1280)
        outputs[1:2, 0] = torch.inf
        return outputs

    context = context_of(tmp_path)
    job = job_of(data, context, "knn", size=32)
    monkeypatch.setattr(BackboneModel, "forward", broken)
    with pytest.raises(NumericalError, match=r"features of picture '.*checks.*' are not finite"):
        classification.knn(job, context)
    assert not list((context.cache_dir / "artifacts").iterdir())


def test_more_neighbours_than_pictures_is_noted(data, tmp_path):
    context = context_of(tmp_path)
    result = classification.knn(job_of(data, context, "knn", size=32, k=100), context)
    assert result.hparams["k"] == 36
    assert result.notes["k_clipped"] is True


def test_few_shots_average_their_draws_and_follow_the_seed(data, tmp_path):
    context = context_of(tmp_path)
    first, again, other = (
        classification.fewshot(job_of(data, context, "fewshot", size=32, shots=2, draws=4, seed=seed), context)
        for seed in (0, 0, 1)
    )
    assert set(np.unique(first.outcomes["outcome"])) <= {0, 0.25, 0.5, 0.75, 1.0}
    assert np.array_equal(first.outcomes["outcome"], again.outcomes["outcome"])
    assert not np.array_equal(first.outcomes["outcome"], other.outcomes["outcome"])


def test_more_shots_than_a_class_has_are_refused(data, tmp_path):
    context = context_of(tmp_path)
    with pytest.raises(ConfigError, match=r"shots=13 .* class 'checks' has: 12"):
        classification.fewshot(job_of(data, context, "fewshot", size=32, shots=13), context)


def test_a_data_set_that_is_not_here_and_an_unknown_artifact_are_named(data, tmp_path):
    from dataclasses import replace

    context = context_of(tmp_path)
    job = job_of(data, context, "linear")
    with pytest.raises(DataMissingError, match="not on this machine"):
        classification.linear(replace(job, dataset_spec=None), context)
    with pytest.raises(BobError, match="artifact kind 'dreams'"):
        make(Need(kind="dreams", content=()), job, context)


@pytest.mark.parametrize(("requested", "used"), [("fp32", "fp32"), ("bf16", "bf16")])
def test_the_precision_asked_for_is_the_one_noted(data, tmp_path, requested, used):
    from dataclasses import replace

    context = context_of(tmp_path)
    job = replace(job_of(data, context, "knn", size=32, budget=Budget(max_train=6, max_test=3, max_val=3)))
    assert classification.knn(replace(job, precision=requested), context).notes["precision"] == used


@pytest.mark.parametrize(("requested", "message"), [("fp8", "not known"), ("fp16", "not for a CPU")])
def test_a_precision_that_cannot_be_had_is_refused(data, tmp_path, requested, message):
    from dataclasses import replace

    context = context_of(tmp_path)
    with pytest.raises(ConfigError, match=message):
        classification.knn(replace(job_of(data, context, "knn"), precision=requested), context)
