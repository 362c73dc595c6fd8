"""Transforms: evaluation equals timm's bit for bit, training is decided by the generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_helpers import picture
from PIL import Image

from bob.backbones.backbone import InputConfig
from bob.core.errors import ConfigError
from bob.data.transforms import EvalCrop, TrainCrop, eval_transform, normalise, train_transform


def _input(**changes):
    plain = {
        "image_size": 96,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
    }
    return InputConfig(**(plain | changes))


SIZES = [(224, 298), (301, 200), (96, 96), (110, 110), (57, 401), (640, 33)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
def test_the_evaluation_transform_equals_timms(interpolation, crop_pct):
    from timm.data import create_transform

    config = _input(interpolation=interpolation, crop_pct=crop_pct)
    theirs = create_transform(
        (3, 96, 96), is_training=False, interpolation=interpolation, mean=config.mean, std=config.std, crop_pct=crop_pct
    )
    ours = eval_transform(config)
    for seed, size in enumerate(SIZES):
        image = picture(seed, size)
        mine = ours(image)
        assert mine.shape == (3, 96, 96) and mine.dtype == torch.float32 and mine.is_contiguous()
        torch.testing.assert_close(mine, theirs(image), rtol=0, atol=1e-6)


def test_the_training_transform_depends_on_the_generator_alone():
    transform, image = train_transform(_input()), picture(0, (200, 150))
    views = [transform(image, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].shape == (3, 96, 96)


def test_training_crops_stay_within_scale_and_ratio_and_are_flipped_half_of_the_time():
    image = Image.fromarray(np.tile(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], (200, 1, 3)))
    crop = TrainCrop(_input(), jitter=0.0)
    flips = 0
    for seed in range(300):
        chance = torch.rand(26, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        left, top, right, bottom = crop._box(image.size, chance)
        assert 0 <= left < right <= 300 and 0 <= top < bottom <= 200
        share, ratio = (right - left) * (bottom - top) / 60_000, (right - left) / (bottom - top)
        assert 0.34 <= share <= 1.01 and 0.74 <= ratio <= 1.35
        view = crop(image, torch.Generator().manual_seed(seed))
        flips += bool(view[48, 0, 0] > view[48, -1, 0])
    assert 110 < flips < 190


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3)])
def test_the_longest_and_smallest_pictures_have_a_view(size):
    image = picture(0, size)
    for seed in range(5):
        view = train_transform(_input())(image, torch.Generator().manual_seed(seed))
        assert view.shape == (3, 96, 96) and torch.isfinite(view).all()
    assert eval_transform(_input())(image).shape == (3, 96, 96)


def test_jitter_stays_within_its_bounds():
    grey = Image.new("RGB", (100, 100), (100, 100, 100))
    means = [TrainCrop(_input())(grey, torch.Generator().manual_seed(seed)).mean() for seed in range(200)]
    assert 79 <= min(means) < 85 and 115 < max(means) <= 121


def test_a_normalised_batch_equals_single_pictures_and_lies_channels_last():
    config, pixels = _input(), torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8)
    batch = normalise(pixels, config)
    assert batch.shape == (4, 3, 96, 96) and batch.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(batch[index], normalise(pixels[index], config)) for index in range(4))


def test_an_unknown_interpolation_is_named():
    with pytest.raises(ConfigError, match="'cubic'"):
        eval_transform(_input(interpolation="cubic"))(picture(0))


@pytest.mark.parametrize("size", [(20_000, 2), (2, 20_000), (3_000, 40)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_of_a_strip_only_what_the_crop_keeps_is_resized_and_the_pixels_are_the_same(size, interpolation, monkeypatch):
    rng = np.random.default_rng(0)
    strip = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    crop = EvalCrop(
        InputConfig(image_size=32, mean=(0,) * 3, std=(1,) * 3, interpolation=interpolation, crop_pct=0.875)
    )
    made = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda image, to, *more, **options: made.append(to) or resize(image, to, *more, **options),
    )
    pixels = crop(strip)
    assert made == [(32, 32)]
    monkeypatch.setattr("bob.data.transforms.MOST_RESIZED", 1e9)
    whole = crop(strip)
    assert pixels.shape == whole.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - whole).max() <= 2
