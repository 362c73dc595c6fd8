"""Batches: the same whoever decodes them, exact from any step, in bounded memory."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
import torch
from data_helpers import class_folders

from bob.backbones.backbone import InputConfig
from bob.core.errors import ConfigError, DataError
from bob.data.loading import PictureBatches, PictureCache, Views
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset
from bob.data.transforms import eval_transform

INPUT = InputConfig(image_size=24, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear", crop_pct=0.9)


@pytest.fixture
def pictures(tmp_path):
    root = class_folders(tmp_path / "set" / "train", {"a": 12, "b": 11}).parent
    class_folders(root / "val", {"a": 2, "b": 2})
    class_folders(root / "test", {"a": 2, "b": 2})
    spec = resolve_dataset(str(root), cache_dir=tmp_path / "cache")
    return open_split(spec, "train", cache_dir=tmp_path / "cache")


def _epochs(pictures, epochs=(0, 1), **options):
    with PictureBatches(pictures, INPUT, batch_size=5, seed=3, **options) as batches:
        return [[(images.clone(), labels) for images, labels in batches.batches(epoch)] for epoch in epochs]


def _same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_batches_do_not_depend_on_threads_or_cache(pictures):
    plain = _epochs(pictures)
    for options in ({"threads": 4}, {"cache_bytes": 0}, {"cache_bytes": 20_000, "threads": 2}):
        assert all(_same(*pair) for pair in zip(plain, _epochs(pictures, **options), strict=True))
    assert not _same(*plain)


@pytest.mark.parametrize("start_method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_batches_do_not_depend_on_worker_processes(pictures, start_method):
    plain = _epochs(pictures, (0, 1, 2))
    workers = _epochs(pictures, (0, 1, 2), loader_workers=2, start_method=start_method)
    assert all(_same(*pair) for pair in zip(plain, workers, strict=True))


def test_starting_at_a_step_gives_exactly_the_rest_of_the_epoch(pictures):
    whole = _epochs(pictures, (4,))[0]
    with PictureBatches(pictures, INPUT, batch_size=5, seed=3) as batches:
        assert batches.steps_per_epoch == len(whole) == 4
        for step in range(5):
            assert _same(whole[step:], list(batches.batches(4, start_step=step)))


def test_an_epoch_shows_each_picture_once_with_its_label(pictures):
    with PictureBatches(pictures, INPUT, batch_size=23) as batches:
        (_, labels), *rest = batches.batches(0)
        assert not rest and sorted(labels.tolist()) == sorted(pictures.labels.tolist())
        order = [batches._epoch_order(epoch).tolist() for epoch in (0, 1)]
        assert order[0] != order[1] and sorted(order[0]) == list(range(23))
        assert labels.tolist() == pictures.labels[order[0]].tolist()


def test_fewer_pictures_than_a_batch_are_one_batch(pictures):
    with PictureBatches(pictures, INPUT, batch_size=64) as batches:
        assert batches.steps_per_epoch == 1
        assert [len(images) for images, _ in batches.batches(0)] == [23]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_equals_the_single_transform(pictures, workers):
    transform = eval_transform(INPUT)
    with PictureBatches(pictures, INPUT, batch_size=5, threads=2, loader_workers=workers) as batches:
        for _ in range(2):
            parts = list(batches.evaluation())
            assert np.concatenate([indices for _, indices in parts]).tolist() == list(range(23))
            expected = torch.stack([transform(pictures.load(index)) for index in range(23)])
            assert torch.equal(torch.cat([images for images, _ in parts]), expected)
        assert [index for _, indices in batches.evaluation(start=20) for index in indices] == [20, 21, 22]


def test_the_cache_stays_within_its_bound_and_spares_decoding(pictures, monkeypatch):
    limit = 10 * 40 * 30 * 4
    cache = PictureCache(pictures, limit)
    loaded = []
    real = type(pictures).load
    monkeypatch.setattr(type(pictures), "load", lambda self, index: loaded.append(index) or real(self, index))
    for _ in range(3):
        for index in range(23):
            cache.load(index)
    assert cache.used_bytes <= limit
    assert len(loaded) == 23 + 2 * 13


def test_an_abandoned_epoch_leaves_no_thread_and_no_stale_batch(pictures):
    before = threading.active_count()
    whole = _epochs(pictures, (1,))[0]
    with PictureBatches(pictures, INPUT, batch_size=5, seed=3, threads=2) as batches:
        for _ in batches.batches(0):
            break
        assert _same(whole, list(batches.batches(1)))
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanished_stops_the_epoch_with_its_name(pictures, workers):
    (pictures._samples.read.root / pictures.ids[7]).unlink()
    with PictureBatches(pictures, INPUT, batch_size=5, loader_workers=workers) as batches:
        with pytest.raises(DataError, match=pictures.ids[7]):
            list(batches.evaluation())


def test_pictures_survive_pickling(pictures):
    again = pickle.loads(pickle.dumps(pictures))
    assert again.ids == pictures.ids and again.load(2).tobytes() == pictures.load(2).tobytes()


def test_impossible_settings_are_named(pictures):
    with pytest.raises(ConfigError, match="batch_size 0"):
        PictureBatches(pictures, INPUT, batch_size=0)


def test_a_view_depends_on_seed_epoch_and_picture_and_on_each_of_them(pictures):
    views = Views(PictureCache(pictures, 0), INPUT, seed=3)
    others = [views[1, 4], views[0, 5], Views(PictureCache(pictures, 0), INPUT, seed=4)[0, 4]]
    assert (views[0, 4] == Views(PictureCache(pictures, 0), INPUT, seed=3)[0, 4]).all()
    assert not any((views[0, 4] == other).all() for other in others)
