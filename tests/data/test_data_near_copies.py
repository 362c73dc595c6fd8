"""Pictures that show the same in another size, compression or crop are found; others, however alike, are few."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import class_folders
from PIL import Image, ImageFilter

from bob.data.hash_search import bits_apart, close_pairs
from bob.data.near_copies import near_copies, similar_pairs
from bob.data.resolve import resolve_dataset


def smooth(seed, size=(160, 120)):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(6):
                seed = 100 * len(split) + 10 * (name == "dog") + index
                smooth(seed).save(tmp_path / "set" / split / name / f"{index}.png")
    return tmp_path / "set"


def found(root, cache, **kwargs):
    return near_copies(resolve_dataset(str(root), cache_dir=cache), cache, **kwargs)


def test_a_smaller_a_recompressed_and_a_cut_picture_are_found_with_their_places(root, tmp_path):
    with Image.open(root / "train/cat/0.png") as image:
        image.resize((80, 60)).save(root / "test/cat/small.jpg", quality=60)
    with Image.open(root / "train/dog/1.png") as image:
        image.crop((4, 3, 156, 117)).save(root / "test/cat/cut.jpg", quality=85)
    result = found(root, tmp_path / "cache")
    assert {pair.ids for pair in result.pairs} == {
        ("train/cat/0.png", "test/cat/small.jpg"),
        ("train/dog/1.png", "test/cat/cut.jpg"),
    }
    by_id = {pair.ids[1]: pair for pair in result.pairs}
    assert by_id["test/cat/cut.jpg"].classes == ("dog", "cat") and by_id["test/cat/cut.jpg"].splits[1] == "test"
    assert all(0.98 <= pair.similarity <= 1 for pair in result.pairs)
    assert (result.pictures, result.unread, result.flat, result.crowded) == (26, 0, 0, 0)


def test_what_cannot_be_read_and_what_shows_nothing_is_counted(root, tmp_path):
    (root / "train/cat/broken.jpg").write_bytes(b"no picture")
    for name in ("a", "b"):
        Image.new("RGB", (40, 30), "white").save(root / f"train/cat/{name}.bmp")
    result = found(root, tmp_path / "cache")
    assert (result.pairs, result.unread, result.flat) == ((), 1, 2)


def test_pictures_are_decoded_once_and_progress_is_told(root, tmp_path, monkeypatch, caplog):
    told = []
    first = found(root, tmp_path / "cache", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (24, 24)
    with monkeypatch.context() as patch:
        patch.setattr("bob.data.near_copies.thumbnail", None)
        assert found(root, tmp_path / "cache") == first
    (kept,) = (tmp_path / "cache" / "datasets").glob("thumbnails-*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    assert found(root, tmp_path / "cache") == first and "is damaged" in caplog.text


def test_arrays_have_near_copies_too(tmp_path):
    class_folders(tmp_path / "noise" / "train", {"a": 4, "b": 4})
    assert found(tmp_path / "noise", tmp_path / "cache").pairs == ()


def test_many_equal_thumbnails_give_a_pair_each_and_not_all_pairs():
    one, other = (np.asarray(smooth(seed, (32, 32)).convert("L")) for seed in (1, 2))
    thumbnails = np.stack([one] * 50 + [other] * 50)
    pairs, crowded = similar_pairs(thumbnails, np.arange(100))
    assert len(pairs) == 98 and crowded == 0 and {pair[0] for pair in pairs} == {0, 50}
    assert similar_pairs(thumbnails, np.arange(0)) == ([], 0)


def test_close_hashes_are_found_and_a_crowd_is_said(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 4000, dtype=np.uint64)
    twins = hashes[:200].copy()
    for _ in range(4):
        twins ^= np.uint64(1) << rng.integers(0, 64, 200, dtype=np.uint64)
    pairs, is_crowded = close_pairs(np.concatenate([hashes, twins]))
    hit = {tuple(pair) for pair in pairs.tolist()} & {(index, 4000 + index) for index in range(200)}
    assert len(hit) >= 195 and len(pairs) < 250 and not is_crowded.any()
    assert bits_apart(hashes[:200], twins).max() <= 4
    monkeypatch.setattr("bob.data.hash_search.PAIRS_ANYWAY", 0)
    pairs, is_crowded = close_pairs(hashes[:1] ^ (rng.integers(0, 16, 3000, dtype=np.uint64)))
    assert is_crowded.any() and len(pairs) < 8 * 3 * 3000


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "others"), [("clothing", 0), ("bccd", 3)])
def test_rescaled_recompressed_and_cut_photographs_are_found_and_few_others(realdata, tmp_path, name, others):
    root = tmp_path / "set"
    wanted = set()
    (root / "train/a").mkdir(parents=True)
    (root / "test/a").mkdir(parents=True)
    for index, path in enumerate(sorted((realdata / name).rglob("*.jpg"))[:150]):
        with Image.open(path) as image:
            width, height = image.size
            image.save(root / f"train/a/{index}.jpg", quality=95)
            half, cut = image.resize((width // 2, height // 2)), (width // 50, height // 50)
            half.save(root / f"test/a/{index}-half.jpg", quality=60)
            box = (cut[0], cut[1], width - cut[0], height - cut[1])
            image.crop(box).save(root / f"test/a/{index}-cut.jpg", quality=80)
        wanted |= {(f"train/a/{index}.jpg", f"test/a/{index}-{kind}.jpg") for kind in ("half", "cut")}
    pairs = {pair.ids for pair in found(f"folder:{root}", tmp_path / "cache").pairs}
    assert len(pairs & wanted) >= 0.97 * len(wanted)
    numbers = {tuple(sorted({name.rsplit("/", 1)[-1].split(".")[0].split("-")[0] for name in pair})) for pair in pairs}
    assert sum(len(pair) == 2 for pair in numbers) <= others
