"""Bad pictures are found before training, named, and dropped or refused; odd ones are converted as they look."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import class_folders, picture
from PIL import Image

from bob.core.errors import ConfigError, DataError
from bob.data import check, decode
from bob.data.check import bad_pictures
from bob.data.decode import to_rgb
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def damaged(tmp_path):
    """200 training pictures, five of them bad in different ways, and a text file."""
    root = tmp_path / "set"
    class_folders(root / "train", {"a": 95, "b": 100})
    class_folders(root / "test", {"a": 2, "b": 2})
    folder = root / "train" / "a"
    whole = (folder / "000.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("this is no picture")
    (folder / "header.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 40)
    png = tmp_path / "x.png"
    picture(1).save(png)
    (folder / "cut.png").write_bytes(png.read_bytes()[:-300])
    (folder / "notes.txt").write_text("notes")
    return root


BAD = {f"train/a/{name}" for name in ("truncated.jpg", "empty.jpg", "text.png", "header.png", "cut.png")}


def test_bad_pictures_are_dropped_by_name_before_anything_is_loaded(damaged, cache, caplog):
    spec = resolve_dataset(str(damaged), cache_dir=cache)
    assert set(bad_pictures(spec, cache)) == BAD
    seen = set()
    for split in ("train", "val"):
        pictures = open_split(spec, split, cache_dir=cache)
        assert not BAD & set(pictures.ids)
        seen |= set(pictures.dropped)
        for index in range(len(pictures)):
            assert pictures.load(index).size == (40, 30)
    assert seen == BAD, "a text file is no picture that was dropped"
    assert "truncated.jpg" in caplog.text and "files left out" in caplog.text and "notes.txt" in caplog.text


def test_policy_error_names_the_files(damaged, cache):
    spec = resolve_dataset(str(damaged), cache_dir=cache, policy="error")
    with pytest.raises(DataError, match=r"train/a/\w+\.\w+ \(") as caught:
        open_split(spec, "train", cache_dir=cache)
    assert "notes.txt" in str(caught.value)
    with pytest.raises(ConfigError, match="'ignore'"):
        resolve_dataset(str(damaged), cache_dir=cache, policy="ignore")


def test_more_than_five_percent_bad_is_an_error(tmp_path, cache):
    root = class_folders(tmp_path / "set" / "train", {"a": 20, "b": 20}).parent
    class_folders(root / "val", {"a": 2, "b": 2})
    class_folders(root / "test", {"a": 2, "b": 2})
    for index in range(3):
        (root / "train" / "a" / f"{index:03d}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="3 of 40 pictures are bad, more than 5%"):
        open_split(resolve_dataset(str(root), cache_dir=cache), "train", cache_dir=cache)


def test_a_data_set_is_decoded_once(damaged, cache, monkeypatch):
    spec = resolve_dataset(str(damaged), cache_dir=cache)
    first = open_split(spec, "train", cache_dir=cache)

    def refuse(samples, index):
        raise AssertionError(f"{samples.ids[index]} was decoded again")

    monkeypatch.setattr(check, "why_bad", refuse)
    again = open_split(spec, "train", cache_dir=cache)
    assert again.ids == first.ids and again.dropped == first.dropped


def test_a_capped_split_decodes_only_what_it_uses_and_chooses_as_if_all_were_checked(damaged, cache, tmp_path):
    spec = resolve_dataset(str(damaged), cache_dir=cache)
    capped = open_split(spec, "train", cap=30, cache_dir=cache)
    bad_pictures(spec, tmp_path / "other")
    whole = open_split(spec, "train", cap=30, cache_dir=tmp_path / "other")
    assert capped.ids == whole.ids and np.bincount(capped.labels).tolist() == [15, 15]
    record = next((cache / "datasets").glob("checked-*-train-*.json")).read_text()
    assert sum(bin(int(digit, 16)).count("1") for digit in record.split('"checked": "')[1].split('"')[0]) < 45


def test_a_file_that_vanishes_later_is_named(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 10, "b": 10})
    pictures = open_split(resolve_dataset(str(root), cache_dir=cache), "train", cache_dir=cache)
    (root / pictures.ids[3]).unlink()
    with pytest.raises(DataError, match=pictures.ids[3]):
        pictures.load(3)


def test_a_decompression_bomb_is_named_and_never_unpacked(tmp_path, cache, monkeypatch):
    root = class_folders(tmp_path / "set", {"a": 40, "b": 40})
    Image.new("L", (400, 300)).save(root / "a" / "bomb.png")
    monkeypatch.setattr(decode, "MAX_PIXELS", 100_000)
    spec = resolve_dataset(str(root), cache_dir=cache)
    reasons = bad_pictures(spec, cache)
    assert list(reasons) == ["a/bomb.png"] and "decompression bomb: 400 x 300" in reasons["a/bomb.png"]


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        rgb = np.asarray(to_rgb(image))
    assert rgb.shape == (4, 256, 3)
    assert (rgb[0, :, 0] == np.arange(256)).all() and (rgb[..., 0] == rgb[..., 2]).all()


def test_grey_palette_cmyk_and_alpha_become_rgb_as_they_look(tmp_path):
    colours = Image.new("RGB", (8, 8), (200, 40, 90))
    palette = colours.quantize(4)
    assert np.abs(np.asarray(to_rgb(palette)).astype(int) - (200, 40, 90)).max() <= 2
    assert (np.asarray(to_rgb(Image.new("L", (8, 8), 77))) == 77).all()
    colours.convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    with Image.open(tmp_path / "c.jpg") as image:
        assert image.mode == "CMYK"
        assert np.abs(np.asarray(to_rgb(image)).astype(int) - (200, 40, 90)).max() <= 6
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert np.abs(np.asarray(to_rgb(half)).astype(int) - 127).max() <= 1
    assert (np.asarray(to_rgb(Image.new("LA", (8, 8), (9, 0)))) == 255).all()
    assert np.asarray(to_rgb(Image.new("1", (8, 8), 1))).min() == 255


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste((255, 255, 255), (0, 0, 20, 20))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as stored:
        upright = np.asarray(to_rgb(stored))
    assert upright.shape == (40, 20, 3) and upright[:15].mean() > 240 and upright[25:].mean() < 15


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_range_are_refused(mode):
    with pytest.raises(ValueError, match="no known range"):
        to_rgb(Image.new(mode, (4, 4), 70_000))


def test_a_picture_without_room_for_its_exif_is_still_read(tmp_path):
    image = picture(3)
    image.save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00garbage that is no TIFF header")
    with Image.open(tmp_path / "odd.jpg") as stored:
        assert to_rgb(stored).size == (40, 30)
