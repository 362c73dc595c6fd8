"""Pictures that were passed over in silence: broken links, names that are no UTF-8, formats without a reader."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
from data_helpers import class_folders, picture

from bob.backbones.backbone import InputConfig
from bob.core.errors import DataError
from bob.core.text import printable
from bob.data import decode
from bob.data.check import bad_pictures
from bob.data.decode import open_picture, to_rgb
from bob.data.file_names import EXTRA_SUFFIXES, SUFFIXES, UNREAD_SUFFIXES
from bob.data.fingerprint import FileEntry, fingerprint_files
from bob.data.loading import PictureBatches
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

INPUT = InputConfig(image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)
# 40 x 30 pixels, blue left and red right, turned by its EXIF data (orientation 6).
TURNED_HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAcdtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB6wABAAAAAAAAAFgAAgAAAAACQwABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABBmlwcnAAAADlaXBjbwAAAHVodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "rprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFw"
    "AAAAKAAAAAEAAAAeAAAAAf///+gAAAAC////3gAAAAIAAAAQcGl4aQAAAAADCAgIAAAACWlyb3QDAAAAGWlwbWEAAAAAAAAAAQAB"
    "BoECAwWEhgAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAAhG1kYXQAAABUKAGvEyGpHMj4EPdn/mgMHqZwP+ptAD9ITK5/hN4S"
    "12zb26t1VBNZ1EmS2vJzx1OWfGjdGgwl0RyK2tbe41tmb9iYbbOj5RGlZjzMfj+MAyg7qZXAAAAABkV4aWYAAE1NACoAAAAIAAEB"
    "EgADAAAAAQAGAAAAAAAA"
)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 30), ("val", 3), ("test", 3)):
        class_folders(tmp_path / "set" / split, {"cat": count, "dog": count})
    return tmp_path / "set"


@pytest.fixture
def without_heif(monkeypatch):
    """Hide the reader of HEIC files, as if the extra were not installed."""
    monkeypatch.setattr(decode, "HEIF_READER", "no_such_module")
    monkeypatch.setattr(decode, "formats_read", decode.formats_read.__wrapped__)
    monkeypatch.setattr(decode.Image, "OPEN", {k: v for k, v in decode.Image.OPEN.items() if k != "HEIF"})


def test_a_broken_link_is_a_bad_picture_by_name(root, cache):
    whole = resolve_dataset(str(root), cache_dir=cache).fingerprint
    (root / "train" / "cat" / "gone.png").symlink_to("nowhere.png")
    (root / "train" / "cat" / "notes").symlink_to("nowhere")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert bad_pictures(spec, cache) == {
        "train/cat/gone.png": "OSError: it is a link to 'nowhere.png', which is not there"
    }
    train = open_split(spec, "train", cache_dir=cache)
    assert train.dropped == ("train/cat/gone.png",) and len(train) == 60 and spec.fingerprint != whole
    picture(5).save(root / "train" / "cat" / "nowhere.png")
    mended = resolve_dataset(str(root), cache_dir=cache)
    assert mended.fingerprint != spec.fingerprint and not bad_pictures(mended, cache)


def test_many_broken_links_are_an_error(root, cache):
    for index in range(4):
        (root / "train" / "cat" / f"gone{index}.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match="4 of 64 pictures are bad"):
        open_split(resolve_dataset(str(root), cache_dir=cache), "train", cache_dir=cache)


def test_a_name_that_is_no_utf8_is_read_like_any_other(root, cache):
    (root / "train" / "cat" / "000.jpg").rename(root / "train" / "cat" / os.fsdecode(b"caf\xe9.jpg"))
    for split in ("train", "val", "test"):
        (root / split / "dog").rename(root / split / os.fsdecode(b"no\xebl"))
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.classes == ("cat", "no\\xebl") and len(spec.fingerprint) == 64
    train = open_split(spec, "train", cache_dir=cache)
    index = train.ids.index("train/cat/caf\\xe9.jpg")
    assert train.load(index).size == (40, 30) and train.labels.tolist() == [0] * 30 + [1] * 30
    json.dumps(spec.classes, ensure_ascii=False).encode()
    "".join(train.ids).encode()


def test_a_bad_picture_whose_name_is_no_utf8_is_named(root, cache, caplog):
    Path(os.fsdecode(os.fsencode(root / "train" / "cat") + b"/b\xe4d.jpg")).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(root / "train" / "cat") + b"/n\xf6te.txt")).write_bytes(b"")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert open_split(spec, "train", cache_dir=cache).dropped == ("train/cat/b\\xe4d.jpg",)
    assert "train/cat/n\\xf6te.txt" in caplog.text
    caplog.text.encode()


@pytest.mark.parametrize(
    "name", [b"a.jpg", b"caf\xe9", b"caf\\xe9", b"back\\slash", b"\xff\\xff", "čaj".encode(), b"\\\\"]
)
def test_a_printable_name_gives_the_name_back(name):
    text = printable(os.fsdecode(name))
    text.encode()
    is_escaped = text != os.fsdecode(name)
    assert (text.encode("latin-1").decode("unicode_escape").encode("latin-1") if is_escaped else text.encode()) == name


def test_no_two_names_become_one_and_those_in_utf8_stay():
    names = [os.fsdecode(name) for name in (b"caf\xe9", b"caf\\xe9", b"caf\\\\xe9", "café".encode(), b"back\\slash")]
    assert len({printable(name) for name in names}) == len(names)
    assert printable("café") == "café" and printable("back\\slash") == "back\\slash"


def test_fingerprints_of_names_in_utf8_stay_as_they_were(tmp_path, cache):
    (tmp_path / "één.txt").write_text("x")
    entry = FileEntry("één.txt", 1, 0)
    known = "d995371f94c481dfb92f090b807db5aa62fa105f0a81caace63041293a44ca3f"
    assert fingerprint_files(tmp_path, [entry], cache_dir=cache) == known


@pytest.mark.parametrize("suffix", [".jxl", ".cr2", ".SVG", ".dcm"])
def test_pictures_without_a_reader_are_bad_ones(root, cache, suffix):
    (root / "train" / "cat" / f"x{suffix}").write_bytes((root / "train" / "cat" / "000.jpg").read_bytes())
    reasons = bad_pictures(resolve_dataset(str(root), cache_dir=cache), cache)
    assert reasons == {f"train/cat/x{suffix}": f"OSError: no reader for {suffix.lower()}: save it as JPEG, PNG or TIFF"}


@pytest.mark.parametrize("suffix", sorted(EXTRA_SUFFIXES))
def test_without_the_extra_a_heic_is_a_bad_picture_that_says_what_to_install(root, cache, suffix, without_heif):
    (root / "train" / "cat" / f"x{suffix}").write_bytes(TURNED_HEIC)
    reasons = bad_pictures(resolve_dataset(str(root), cache_dir=cache), cache)
    hint = f"no reader for {suffix}: pip install 'battle-of-the-backbones[formats]'"
    assert reasons == {f"train/cat/x{suffix}": f"OSError: {hint}"}


def test_a_class_of_unread_pictures_does_not_vanish(root, cache, without_heif):
    for split in ("train", "val", "test"):
        (root / split / "bird").mkdir()
        for index in range(9):
            (root / split / "bird" / f"{index}.heic").write_bytes(TURNED_HEIC + f"{split} {index}".encode())
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.classes == ("bird", "cat", "dog")
    with pytest.raises(DataError, match=r"9 of 69 pictures are bad.*no reader for \.heic"):
        open_split(spec, "train", cache_dir=cache)


def test_a_heic_is_read_and_turned_once(root, cache):
    pytest.importorskip("pi_heif", reason="the extra 'formats' is not installed")
    for index in range(2):
        (root / "train" / "cat" / f"x{index}.heic").write_bytes(TURNED_HEIC)
    (root / "train" / "cat" / "x9.heic").write_bytes(TURNED_HEIC[:-60])
    (root / "train" / "cat" / "x8.heic").write_bytes(b"no picture")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert set(bad_pictures(spec, cache)) == {"train/cat/x8.heic", "train/cat/x9.heic"}
    train = open_split(spec, "train", cache_dir=cache)
    image = train.load(train.ids.index("train/cat/x0.heic"))
    assert image.size == (30, 40)
    assert np.abs(np.asarray(image)[2, 2].astype(int) - (20, 160, 220)).max() < 8
    assert np.abs(np.asarray(image)[-3, -3].astype(int) - (200, 40, 90)).max() < 8


def test_a_heic_is_read_in_worker_processes(root, cache):
    pytest.importorskip("pi_heif", reason="the extra 'formats' is not installed")
    (root / "train" / "cat" / "x.heic").write_bytes(TURNED_HEIC)
    train = open_split(resolve_dataset(str(root), cache_dir=cache), "train", cache_dir=cache)
    with PictureBatches(train, INPUT, batch_size=8, loader_workers=1, start_method="spawn") as batches:
        assert sum(len(images) for images, _ in batches.evaluation()) == 61


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".jpx"])
def test_jpeg_2000_is_read(tmp_path, suffix):
    picture(1).save(tmp_path / f"x{suffix}")
    with open_picture(tmp_path / f"x{suffix}") as image:
        assert to_rgb(image).size == (40, 30)


def test_a_suffix_is_of_one_kind():
    assert not SUFFIXES & EXTRA_SUFFIXES and not (SUFFIXES | EXTRA_SUFFIXES) & UNREAD_SUFFIXES
