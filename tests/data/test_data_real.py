"""The data layer on real photographs: nothing is dropped, conversions keep the picture, transforms equal timm's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from bob.backbones.backbone import InputConfig
from bob.data.decode import to_rgb
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset
from bob.data.transforms import eval_transform

pytestmark = pytest.mark.realdata
INPUT = InputConfig(
    image_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic", crop_pct=0.875
)


@pytest.fixture
def clothing(realdata, tmp_path):
    return resolve_dataset(str(realdata / "clothing"), cache_dir=tmp_path)


def test_clothing_is_read_whole(clothing, tmp_path):
    assert dict(clothing.sizes) == {"train": 600, "val": 186, "test": 372} and len(clothing.classes) == 10
    train = open_split(clothing, "train", cache_dir=tmp_path)
    assert np.bincount(train.labels).tolist() == [60] * 10 and train.dropped == ()
    capped = open_split(clothing, "train", cap=100, cache_dir=tmp_path)
    assert np.bincount(capped.labels).tolist() == [10] * 10 and set(capped.ids) <= set(train.ids)
    for index in range(0, 100, 10):
        photo = np.asarray(capped.load(index))
        assert photo.ndim == 3 and min(photo.shape[:2]) == 224 and photo.std() > 10


def test_photographs_transform_as_under_timm(clothing, tmp_path):
    from timm.data import create_transform

    theirs = create_transform((3, 224, 224), interpolation="bicubic", mean=INPUT.mean, std=INPUT.std, crop_pct=0.875)
    pictures = open_split(clothing, "test", cap=30, cache_dir=tmp_path)
    ours = eval_transform(INPUT)
    for index in range(len(pictures)):
        photo = pictures.load(index)
        torch.testing.assert_close(ours(photo), theirs(photo), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["CMYK", "grey", "deep", "palette", "alpha"])
def test_a_photograph_stored_otherwise_still_looks_the_same(clothing, tmp_path, kind):
    photo = open_split(clothing, "test", cap=10, cache_dir=tmp_path).load(3)
    grey = np.asarray(photo.convert("L"))
    path = tmp_path / ("x.tif" if kind == "CMYK" else "x.png")
    stored = {
        "CMYK": lambda: photo.convert("CMYK"),
        "grey": lambda: photo.convert("L"),
        "deep": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "palette": lambda: photo.quantize(256),
        "alpha": lambda: photo.convert("RGBA"),
    }[kind]()
    stored.save(path)
    with Image.open(path) as image:
        back = np.asarray(to_rgb(image)).astype(int)
    expected = np.repeat(grey[..., None], 3, axis=2) if kind in ("grey", "deep") else np.asarray(photo)
    assert np.abs(back - expected).mean() < (6 if kind == "palette" else 1.01)
