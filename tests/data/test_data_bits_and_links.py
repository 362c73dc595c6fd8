"""Grey levels of 12 bits in 16-bit files, and links that lead out of a data set's folder."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from data_helpers import class_folders
from PIL import Image

from bob.cli import main
from bob.core.errors import DataError
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def wide_folders(root, top, *, bright=0):
    """Fill folders of two classes with 16-bit pictures of levels up to ``top``; the last ``bright`` dogs go higher."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 6), ("test", 6)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, top + 1, (12, 16)).astype(np.uint16)
                pixels[0, 0] = 65535 if split == "train" and name == "dog" and index >= count - bright else top
                Image.fromarray(pixels).save(root / split / name / f"{index:02d}.png")
    return root


def resolved(root, cache, **more):
    return resolve_dataset(str(root), cache_dir=cache, **more)


@pytest.mark.parametrize(("top", "bits"), [(4095, 12), (2047, 12), (255, 8), (7, 8), (1023, 10)])
def test_levels_of_fewer_bits_fill_the_range_and_it_is_said(tmp_path, cache, caplog, top, bits):
    with caplog.at_level(logging.WARNING):
        spec = resolved(wide_folders(tmp_path / "set", top), cache)
    assert spec.bits == bits and f"use {bits} bits" in caplog.text
    picture = open_split(spec, "test", cache_dir=cache)
    levels = np.asarray(picture.load(0))
    assert levels.max() == (255 * top + (2**bits - 1) // 2) // (2**bits - 1) and levels.std() > 0


def test_all_sixteen_bits_are_scaled_as_before_under_the_fingerprint_as_before(tmp_path, cache):
    spec = resolved(wide_folders(tmp_path / "set", 65535), cache)
    assert spec.bits == 16 and spec.read_as == ""
    assert np.asarray(open_split(spec, "test", cache_dir=cache).load(0)).max() == 255


def test_results_of_pictures_that_were_black_do_not_count_any_more(tmp_path, cache):
    spec = resolved(wide_folders(tmp_path / "set", 4095), cache)
    assert spec.fingerprint != spec.read_as != ""
    assert resolved(tmp_path / "set", tmp_path / "other cache").fingerprint == spec.fingerprint


def test_a_picture_above_the_others_levels_is_asked_about_and_never_left_out(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("bob.data.picture_bits.LOOKED_AT", 3)
    monkeypatch.setattr("bob.data.picture_bits._places", lambda count, most: [0])
    spec = resolved(wide_folders(tmp_path / "set", 4095, bright=1), cache)
    with pytest.raises(DataError, match="grey level 65535, though those looked at use 12 bits") as asked:
        open_split(spec, "train", cache_dir=cache)
    assert "--set picture_bits=16" in str(asked.value)
    whole = resolved(tmp_path / "set", cache, picture_bits=16)
    assert whole.fingerprint == spec.read_as and not open_split(whole, "train", cache_dir=cache).dropped


def test_sets_beside_each_other_are_scaled_alike(tmp_path, cache):
    wide_folders(tmp_path / "pets", 4095)
    wide_folders(tmp_path / "dark", 900)
    folders = ["--results", str(tmp_path / "results"), "--cache", str(cache)]
    command = [
        "plan",
        "--backbone",
        "resnet18.random",
        "--task",
        "ood_generalization",
        "--data",
        str(tmp_path / "pets"),
    ]
    command += ["--shift", str(tmp_path / "dark"), *folders]
    assert main(command) == 2
    assert main([*command, "--set", "picture_bits=12"]) == 0


def test_pictures_of_8_bits_have_no_bits(tmp_path, cache):
    class_folders(tmp_path / "set", {"cat": 6, "dog": 6})
    assert resolved(tmp_path / "set", cache).bits is None


@pytest.fixture
def linked(tmp_path):
    """Class folders, and single pictures, that are links into a pool beside them."""
    class_folders(tmp_path / "pool", {"cat": 10, "dog": 10})
    for name in ("cat", "dog"):
        (tmp_path / "by_class").mkdir(exist_ok=True)
        (tmp_path / "by_class" / name).symlink_to(tmp_path / "pool" / name)
        (tmp_path / "by_file" / name).mkdir(parents=True, exist_ok=True)
        for path in (tmp_path / "pool" / name).iterdir():
            other = {"cat": "dog", "dog": "cat"}[name]
            (tmp_path / "by_file" / other).mkdir(exist_ok=True)
            (tmp_path / "by_file" / other / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize("name", ["by_class", "by_file"])
def test_links_out_of_the_folder_are_followed_where_that_is_said(linked, cache, name):
    with pytest.raises(DataError, match="leads out of the data set's folder") as refused:
        resolved(linked / name, cache)
    assert "--follow-links" in str(refused.value)
    spec = resolved(linked / name, cache, follow_links=True)
    assert spec.classes == ("cat", "dog") and sum(dict(spec.sizes).values()) == 20
    assert len(open_split(spec, "train", cache_dir=cache)) == 14


def test_a_pictures_class_is_that_of_the_link(linked, cache):
    train = open_split(resolved(linked / "by_file", cache, follow_links=True), "train", cache_dir=cache)
    place = train.labels.tolist().index(0)  # "cat", whose links lead to the pool's dogs
    assert train.ids[place].startswith("cat/")
    with Image.open(linked / "pool" / "dog" / train.ids[place].removeprefix("cat/")) as target:
        assert np.array_equal(np.asarray(train.load(place)), np.asarray(target.convert("RGB")))


def test_links_that_lead_back_to_the_folder_end(linked, cache):
    (linked / "pool" / "cat" / "again").symlink_to(linked / "by_class")
    with pytest.raises(DataError, match="a folder above itself"):
        resolved(linked / "by_class", cache, follow_links=True)


def test_snapshots_of_a_hubs_cache_lead_to_its_blobs_unasked(tmp_path, cache):
    hub = tmp_path / "datasets--me--pets"
    class_folders(tmp_path / "made", {"cat": 6, "dog": 6})
    (hub / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted((tmp_path / "made").rglob("*.jpg"))):
        blob = hub / "blobs" / f"{number:040x}"
        path.rename(blob)
        link = hub / "snapshots" / "0a1b" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    assert dict(resolved(hub / "snapshots" / "0a1b", cache).sizes) == {"train": 8, "val": 2, "test": 2}
    (hub / "snapshots" / "0a1b" / "cat" / "secret.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(DataError, match="leads out"):
        resolved(hub / "snapshots" / "0a1b", cache)


def test_the_command_line_follows_links_and_says_what_copies_there_are(linked, capsys):
    folders = ["--results", str(linked / "results"), "--cache", str(linked / "cache"), "--no-sheet"]
    assert main(["data", str(linked / "by_class"), *folders]) == 2
    (linked / "pool" / "dog" / "copy.jpg").write_bytes((linked / "pool" / "cat" / "000.jpg").read_bytes())
    assert main(["data", str(linked / "by_class"), "--follow-links", "--copies", *folders]) == 0
    out = capsys.readouterr().out
    assert "1 picture under several classes" in out and "cat/000.jpg" in out
    assert "1 pair of near copies among 21 pictures, 1 of them in two splits or classes" in out
    command = ["plan", "--backbone", "resnet18.random", "--data", str(linked / "by_class"), "--follow-links"]
    assert main([*command, *folders[:4]]) == 0
