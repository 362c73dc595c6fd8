"""Data sets that attack: names that lead out, files that never end, pictures that start programs, texts that grow."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from data_helpers import class_folders, coco_content, picture
from PIL import Image

from bob.core.errors import BobError, DataError
from bob.core.text import visible
from bob.data.decode import FORMATS, open_picture
from bob.data.dense_pictures import open_dense
from bob.data.file_names import SUFFIXES
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

pytestmark = pytest.mark.timeout(60)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n(ran) (w) file closefile\n"


class _Runs:
    """What a pickle of it does: it leaves a file, as it could leave anything."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    return class_folders(tmp_path / "data", {"a": 40, "b": 40})


def test_a_postscript_file_named_as_a_photograph_starts_no_program(folder, cache, tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    path = folder / "a" / "000.jpg"
    path.write_bytes(POSTSCRIPT)
    with Image.open(path) as trusting, pytest.raises(OSError):
        trusting.load()
    assert mark.exists(), "Pillow hands it to Ghostscript, so that this test can fail"
    mark.unlink()
    pictures = open_split(resolve_dataset(str(folder), cache_dir=cache), "train", cache_dir=cache)
    assert not mark.exists() and not any("a/000.jpg" in name for name in pictures.ids)


def test_every_format_that_a_suffix_promises_is_still_read(tmp_path):
    names = {".jpg": "JPEG", ".jp2": "JPEG2000", ".tif": "TIFF", ".avif": "AVIF", ".jfif": "JPEG", ".jpe": "JPEG"}
    for suffix in sorted(SUFFIXES):
        path = tmp_path / f"x{suffix}"
        picture(1).save(path, format=names.get(suffix))
        with open_picture(path) as image:
            assert image.format in FORMATS and image.size == (40, 30)


def test_a_pipe_or_device_in_place_of_a_picture_is_not_waited_for(folder, cache):
    os.mkfifo(folder / "a" / "pipe.jpg")
    started = time.monotonic()
    pictures = open_split(resolve_dataset(str(folder), cache_dir=cache), "train", cache_dir=cache)
    assert "a/pipe.jpg" not in (*pictures.ids, *pictures.dropped)
    for path in (folder / "a" / "pipe.jpg", Path("/dev/zero"), folder):
        with pytest.raises(OSError, match="no regular file"):
            open_picture(path)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("link", ["a/000.jpg", "a/classes.txt", "a", "a/deeper", "train", "loop"])
def test_a_link_that_leads_out_of_a_data_set_is_refused(folder, cache, tmp_path, link):
    outside = class_folders(tmp_path / "outside", {"secret": 3})
    place = folder / link
    if link == "loop":
        (folder / "a" / "loop").symlink_to("loop")
    elif place.suffix:
        place.unlink(missing_ok=True)
        place.symlink_to(outside / "secret" / "000.jpg")
    elif link == "a":
        place.rename(folder / "b" / "more")
        place.symlink_to(outside / "secret")
    else:
        place.symlink_to(outside)
    with pytest.raises(DataError, match=r"leads out of the data set's folder|leads to itself"):
        resolve_dataset(str(folder), cache_dir=cache)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "C:\\x", "train/../../x", "./../x"])
def test_a_coco_file_name_cannot_lead_out(tmp_path, cache, name):
    content = coco_content(3)
    content["images"][1]["file_name"] = name
    with pytest.raises(DataError, match="leads out"):
        _coco(tmp_path, cache, content)


def _coco(tmp_path, cache, content):
    root = tmp_path / "coco"
    (root / "train").mkdir(parents=True, exist_ok=True)
    for index in range(len(content["images"]) if isinstance(content, dict) else 1):
        picture(index).save(root / "train" / f"{index:03d}.jpg")
    (root / "train.json").write_text(content if isinstance(content, str) else json.dumps(content))
    spec = resolve_dataset(f"coco:{root}", cache_dir=cache)
    return open_dense(spec, "train", annotation="boxes", cache_dir=cache)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("bbox", [10**400, 1, 5, 5]),
        ("bbox", [1e308, 1e308, 1e308, 1e308]),
        ("area", 10**400),
        ("segmentation", {"size": [30, 40], "counts": [10**18, 1]}),
        ("segmentation", {"size": [30, 40], "counts": "o" * 500_000}),
        ("segmentation", {"size": [10**9, 10**9], "counts": [10**18 - 1, 1]}),
        ("segmentation", [[10**400, 0, 1, 1, 2, 2]]),
        ("category_id", [[]]),
        ("image_id", {"a": 1}),
        ("size", 10**9),
        ("size", 10**30),
    ],
    ids=lambda value: str(value)[:20],
)
def test_coco_numbers_that_no_picture_has_cost_one_annotation_and_no_memory(tmp_path, cache, where, value):
    content = coco_content(60)
    if where == "size":
        content["images"][0] |= {"width": value, "height": value}
        content["annotations"][0]["segmentation"] = {"size": [value, value], "counts": [value * value - 1, 1]}
    else:
        content["annotations"][0][where] = value
    assert len(_coco(tmp_path, cache, content)) >= 41  # of 42 in train


@pytest.mark.parametrize(
    "text", ['{"images": [], "n": ' + "9" * 5000 + "}", "[" * 200_000, '{"images": "\\ud800"}', "\0"]
)
def test_coco_text_that_breaks_parsers_is_a_plain_error(tmp_path, cache, text):
    with pytest.raises(DataError, match=r"train\.json"):
        _coco(tmp_path, cache, text)


ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in ("ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"))
PAGE = "<annotation><size><width>40</width><height>30</height></size><object><name>{}</name></object></annotation>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    ("declared", "used"),
    [(f'<!ENTITY a "aaaaaaaaaa">{ENTITIES}', "&i;"), ('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;")],
)
def test_a_voc_file_cannot_unfold_or_read_other_files(tmp_path, cache, encoding, declared, used):
    root = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    picture(0).save(root / "JPEGImages" / "x.jpg")
    (root / "ImageSets/Main/train.txt").write_text("x\n")
    text = f"<?xml version='1.0' encoding='{encoding[:6]}'?><!DOCTYPE a [{declared}]>{PAGE.format(used)}"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (root / "Annotations" / "x.xml").write_bytes(mark + text.encode(encoding))
    with pytest.raises(DataError, match="defines entities"):
        resolve_dataset(f"voc:{root}", cache_dir=cache)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "a/b", "a\\b"])
def test_a_voc_list_cannot_lead_out(tmp_path, cache, name):
    root = tmp_path / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match="no plain name"):
        resolve_dataset(f"voc:{root}", cache_dir=cache)


def test_a_pickle_in_place_of_cifar_or_of_roxford_is_not_run(tmp_path, cache):
    mark = tmp_path / "ran"
    places = [tmp_path / "down" / "cifar-10-batches-py", tmp_path / "rox"]
    files = ("data_batch_1", "test_batch", "batches.meta", "gnd_roxford5k.pkl")
    for place in places:
        place.mkdir(parents=True)
        for name in files:
            (place / name).write_bytes(pickle.dumps(_Runs(mark)))
    (places[1] / "jpg").mkdir()
    for text in ("cifar10", f"revisited:{places[1]}"):
        with pytest.raises(DataError):
            resolve_dataset(text, cache_dir=cache, data_dir=tmp_path / "down")
    assert not mark.exists()


def test_an_idx_header_that_lies_takes_no_memory(tmp_path, cache):
    (tmp_path / "idx").mkdir()
    header = bytes([0, 0, 8, 3]) + struct.pack(">III", 2**31, 2**15, 2**15)
    (tmp_path / "idx" / "train-images-idx3-ubyte").write_bytes(header)
    (tmp_path / "idx" / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 40) + bytes(40))
    )
    with pytest.raises(DataError, match="promises"):
        spec = resolve_dataset(f"idx:{tmp_path / 'idx'}", cache_dir=cache)
        open_split(spec, "train", cache_dir=cache)


def test_a_hugging_face_folder_cannot_name_files_outside_or_bring_code(tmp_path, cache):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"image": [picture(n) for n in range(12)], "label": ["a", "b"] * 6})
    table = table.cast_column("image", datasets.Image())
    table.save_to_disk(str(tmp_path / "outside"))
    for split in ("train", "val", "test"):
        table.save_to_disk(str(tmp_path / "hf" / split))
    (tmp_path / "hf" / "dataset_dict.json").write_text('{"splits": ["train", "val", "test"]}')
    mark = tmp_path / "ran"
    for name in ("hf.py", "dataset.py", "__init__.py"):
        (tmp_path / "hf" / name).write_text(f"open({str(mark)!r}, 'w')\n")
    assert resolve_dataset(f"hf:{tmp_path / 'hf'}", cache_dir=cache).classes == ("a", "b")
    state = tmp_path / "hf" / "train" / "state.json"
    good = state.read_text()
    inside = json.loads(good)["_data_files"][0]["filename"]
    for name in (f"../../outside/{inside}", str(tmp_path / "outside" / inside), "state.json", "gone.arrow"):
        state.write_text(good.replace(inside, name))
        with pytest.raises(DataError, match=r"leads out|no \.arrow file"):
            resolve_dataset(f"hf:{tmp_path / 'hf'}", cache_dir=cache)
    state.write_text(good)
    (tmp_path / "hf" / "dataset_dict.json").write_text('{"splits": ["../outside"]}')
    with pytest.raises(DataError, match="leads out"):
        resolve_dataset(f"hf:{tmp_path / 'hf'}", cache_dir=cache)
    assert not mark.exists()


def test_a_hub_name_is_no_path(tmp_path, cache):
    for name in ("../escaped", "a/../../escaped", "/etc/passwd", "a/b/c", "a b", "a/b@../../c"):
        with pytest.raises(BobError):
            resolve_dataset(f"hf:{name}", cache_dir=cache)


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b]0;owned\x07", "a\rb", "<img src=x onerror=alert(1)>", "\u202egpj.exe", "a\nb"]
)
def test_a_class_of_any_name_is_a_class_and_a_terminal_is_told_it_in_plain_signs(tmp_path, cache, name):
    root = class_folders(tmp_path / "data", {name: 12, "b": 12})
    assert name in resolve_dataset(str(root), cache_dir=cache).classes
    shown = visible(name).replace("\n", "")
    assert shown.isprintable()


def test_nothing_is_ever_written_into_a_data_set(folder, cache):
    before = sorted(path for path in folder.rglob("*"))
    folder.chmod(0o555)
    spec = resolve_dataset(f"{folder}/../data", cache_dir=cache)
    open_split(spec, "test", cache_dir=cache)
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_picture_whose_text_or_profile_would_explode_is_left_out_or_read_without_it(folder, cache):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("x", "a" * 80_000_000, zip=True)
    picture(1).save(folder / "a" / "bomb.png", pnginfo=info)
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / "a" / "icc.jpg", icc_profile=b"\xff" * 60_000)
    pictures = open_split(resolve_dataset(str(folder), cache_dir=cache), "train", cache_dir=cache)
    assert "a/bomb.png" not in pictures.ids
