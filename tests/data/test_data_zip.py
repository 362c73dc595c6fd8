"""Zip files of class folders are read in place, by the rules for folders; what could do harm is refused."""

from __future__ import annotations

import pickle
import random
import shutil
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from archive_helpers import class_files, jpeg, tar_file, zip_file
from data_helpers import age, mask
from PIL import Image

from bob.backbones.backbone import InputConfig
from bob.core.errors import BobError, DataError
from bob.data import zip_members
from bob.data.archive_members import MemberList
from bob.data.check import bad_pictures
from bob.data.loading import PictureBatches
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

SPLITS = {"train/cat": 12, "train/dog": 12, "val/cat": 2, "val/dog": 2, "test/cat": 3, "test/dog": 3}
WHOLE = {"train": 24, "val": 4, "test": 6}
INPUT = InputConfig(image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def resolved(path, cache, prefix="", **kinds):
    return resolve_dataset(f"{prefix}{path}", cache_dir=cache, **kinds)


def ids_of(spec, cache):
    return [name for split, _ in spec.sizes for name in open_split(spec, split, cache_dir=cache).ids]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_splits_gives_what_the_unpacked_folder_gives(tmp_path, cache, method):
    path = zip_file(tmp_path / "pets.zip", class_files(SPLITS), method=method)
    spec = resolved(path, cache)
    assert (spec.kind, spec.name, spec.classes, dict(spec.sizes)) == ("zip", "pets", ("cat", "dog"), WHOLE)
    shutil.unpack_archive(path, tmp_path / "folder")
    unpacked = resolved(tmp_path / "folder", cache)
    assert ids_of(spec, cache) == ids_of(unpacked, cache)
    ours, theirs = (open_split(each, "train", cache_dir=cache) for each in (spec, unpacked))
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert all((np.asarray(ours.load(i)) == np.asarray(theirs.load(i))).all() for i in range(len(ours)))


@pytest.mark.parametrize("outer", ["", "pets/", "a/b/", "./"])
def test_flat_classes_below_an_outer_folder_are_divided_as_a_folder_is(tmp_path, cache, outer):
    files = {f"{outer}{name}": content for name, content in class_files({"cat": 20, "dog": 20}).items()}
    spec = resolved(zip_file(tmp_path / "x.zip", {**files, f"{outer}README.txt": b"about"}), cache)
    shutil.unpack_archive(zip_file(tmp_path / "y.zip", class_files({"cat": 20, "dog": 20})), tmp_path / "folder")
    assert ids_of(spec, cache) == ids_of(resolved(tmp_path / "folder", cache), cache)


@pytest.mark.parametrize(
    ("names", "inner"),
    [
        (("train", "val", "test"), ("", "", "")),
        (("train", "val", "test"), ("train/", "val/", "test/")),
        (("pets_train", "pets-valid", "Test2017"), ("", "val/", "pets/test/")),
        (("training", "dev", "testing"), ("x/", "", "dev/")),
    ],
)
def test_a_zip_for_each_split_is_known_by_its_name(tmp_path, cache, names, inner):
    root = tmp_path / "set"
    for place, (name, folder) in enumerate(zip(names, inner, strict=True)):
        if inner[2] == "dev/" and place == 2:
            folder = ""
        zip_file(root / f"{name}.zip", class_files({f"{folder}cat": 3 + place, f"{folder}dog": 3}, seed=place))
    (root / "README.md").write_text("about")
    spec = resolved(root, cache)
    assert spec.kind == "zip" and dict(spec.sizes) == {"train": 6, "val": 7, "test": 8}
    assert open_split(spec, "val", cache_dir=cache).ids[0] == "val/cat/000.jpg"


def test_one_zip_in_a_folder_may_hold_the_splits_or_be_one(tmp_path, cache):
    zip_file(tmp_path / "a" / "train.zip", class_files(SPLITS))
    assert dict(resolved(tmp_path / "a", cache).sizes) == WHOLE
    zip_file(tmp_path / "b" / "data.zip", class_files({"cat": 10, "dog": 10}))
    assert dict(resolved(tmp_path / "b", cache).sizes) == {"train": 14, "val": 2, "test": 4}
    zip_file(tmp_path / "c" / "test.zip", class_files({"cat": 4, "dog": 4}))
    assert dict(resolved(tmp_path / "c", cache).sizes) == {"test": 8}


@pytest.mark.parametrize(
    ("archives", "words"),
    [
        ({"train.zip": ["cat"], "other.zip": ["cat"]}, "are named as splits, and 'other.zip' are not"),
        ({"one.zip": ["cat"], "two.zip": ["cat"]}, "none is named as a split"),
        ({"train.zip": ["val/cat"], "test.zip": ["cat"]}, "is the split train by its name, and holds folders of val"),
        (
            {"train.zip": ["cat"], "train2.zip": ["cat"]},
            "'train/cat/000.jpg' is held twice, in 'train.zip' and 'train2",
        ),
        ({"train.zip": ["cat", "dog"], "test.zip": ["cat", "dog", "bird"]}, "no training picture for the classes bird"),
        ({"train.zip": ["cat", "dog"], "test.zip": ["Cat", "dog"]}, "'Cat' and 'cat' differ in case"),
    ],
)
def test_archives_that_do_not_fit_together_are_refused(tmp_path, cache, archives, words):
    for name, folders in archives.items():
        zip_file(tmp_path / "set" / name, class_files(dict.fromkeys(folders, 2)))
    with pytest.raises(DataError, match=words):
        resolved(tmp_path / "set", cache)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"images/1.jpg": b"", "labels/1.txt": b"0 .5 .5 .1 .1"}, "holds boxes like YOLO's .'labels/1.txt'."),
        ({"train/1.jpg": b"", "annotations/instances_train.json": b"{}"}, "annotations like COCO's"),
        ({"VOC/JPEGImages/1.jpg": b"", "VOC/Annotations/1.xml": b"<a/>"}, "boxes like VOC's"),
        ({"data/train.parquet": b""}, "holds tables"),
        ({"cat/1.zip": b"", "notes.txt": b""}, "holds no picture in a folder .*Archives in it: 'cat/1.zip'"),
        ({"a.jpg": b"", "b.jpg": b""}, "holds no class folder with pictures"),
        ({"images/a.jpg": b"", "labels.csv": b"a"}, "only class folder is called 'images', with the file 'labels.csv'"),
        ({}, "its files are: nothing"),
    ],
)
def test_an_archive_of_something_else_is_refused_and_says_what_is_in_it(tmp_path, cache, files, words):
    path = zip_file(tmp_path / "x.zip", files)
    with pytest.raises(DataError, match=words) as error:
        resolved(path, cache)
    assert "npack it" in str(error.value.hint) or "Put each" in str(error.value.hint) or "Look" in str(error.value.hint)


def test_masks_in_an_archive_are_no_classes_and_a_prefix_says_otherwise(tmp_path, cache):
    for split in ("train", "test"):
        for index in range(4):
            for folder, image in (("left", Image.open(_file(tmp_path, index))), ("right", mask(index))):
                (tmp_path / "m" / split / folder).mkdir(parents=True, exist_ok=True)
                image.save(tmp_path / "m" / split / folder / f"{index}.png")
    path = tmp_path / "m.zip"
    shutil.make_archive(str(tmp_path / "m"), "zip", tmp_path / "m")
    with pytest.raises(DataError, match="each picture in 'right' holds few grey levels") as error:
        resolved(path, cache)
    assert f"zip:{path}" in str(error.value.hint)
    assert resolved(path, cache, "zip:").classes == ("left", "right")
    assert resolved(path, cache, labelled=False).classes == ("left", "right")


def _file(folder, index):
    path = folder / f"{index}.jpg"
    path.write_bytes(jpeg(index))
    return path


def test_coco_beside_class_folders_in_an_archive_is_refused(tmp_path, cache):
    files = {**class_files({"a": 2, "b": 2}), "export.json": b'{"images": [{"file_name": "x"}], "a": [{"bbox": []}]}'}
    with pytest.raises(DataError, match=r"'export.json' holds annotations in COCO's format"):
        resolved(zip_file(tmp_path / "x.zip", files), cache)


@pytest.mark.parametrize("name", ["../cat/x.jpg", "/cat/x.jpg", "cat/../../x.jpg", "C:/cat/x.jpg", "cat\\x.jpg"])
def test_a_name_that_leads_out_is_refused(tmp_path, cache, name):
    path = zip_file(tmp_path / "x.zip", {**class_files({"cat": 2, "dog": 2}), name: jpeg(1)})
    with pytest.raises(DataError, match=r"leads out of the archive|backslashes"):
        resolved(path, cache)


def test_what_archives_leave_behind_is_passed_over(tmp_path, cache):
    files = {
        **class_files({"cat": 10, "dog": 10}),
        "__MACOSX/cat/._000.jpg": b"x",
        "cat/.DS_Store": b"",
        ".git/a.jpg": b"",
    }
    spec = resolved(zip_file(tmp_path / "x.zip", files), cache)
    assert (
        spec.classes == ("cat", "dog") and sum(count for _, count in spec.sizes) == 20 and not bad_pictures(spec, cache)
    )


def test_an_encrypted_zip_is_refused(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 2, "dog": 2}))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        resolved(path, cache)


def test_other_packing_methods_are_refused(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 2, "dog": 2}), method=zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="packed by method 12; stored or deflated is expected"):
        resolved(path, cache)


def test_zip_bombs_are_refused_before_anything_is_unpacked(tmp_path, cache, monkeypatch):
    files = {**class_files({"cat": 2, "dog": 2}), "cat/bomb.bmp": bytes(5_000_000)}
    path = zip_file(tmp_path / "x.zip", files)
    assert resolved(path, cache).classes == ("cat", "dog")
    monkeypatch.setattr(zip_members, "BOMB_BYTES", 1000)
    with pytest.raises(DataError, match=r"looks like a zip bomb: .* more than 100 times"):
        resolve_dataset(str(path), cache_dir=tmp_path / "a")
    monkeypatch.setattr(zip_members, "MOST_BYTES", 4_000_000)
    with pytest.raises(DataError, match=r"'cat/bomb.bmp' would unpack to 5000000 bytes"):
        resolve_dataset(str(path), cache_dir=tmp_path / "b")


def test_files_that_share_their_bytes_are_a_bomb(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 2, "dog": 2}), method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for place in _directory(content):
        struct.pack_into("<I", content, place + 20, len(content))
    path.write_bytes(content)
    with pytest.raises(DataError, match="its files share bytes"):
        resolved(path, cache)


def _directory(content):
    place, found = content.find(b"PK\x01\x02"), []
    while place >= 0:
        found.append(place)
        place = content.find(b"PK\x01\x02", place + 4)
    return found


def test_a_member_that_unpacks_to_more_than_it_states_is_a_bad_picture(tmp_path, cache):
    files = {**class_files({"cat": 30, "dog": 30}), "cat/bomb.bmp": bytes(5_000_000)}
    path = zip_file(tmp_path / "x.zip", files)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, _directory(content)[-1] + 24, 100)
    path.write_bytes(content)
    reasons = bad_pictures(resolved(path, cache), cache)
    assert list(reasons) == ["cat/bomb.bmp"] and "do not unpack to the 100 that are stated" in reasons["cat/bomb.bmp"]


def test_damaged_members_are_bad_pictures_and_links_too(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 120, "dog": 120}), method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("cat/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "000.jpg")
        archive.writestr("cat/notes.txt", "text")
        offset = archive.getinfo("dog/003.jpg").header_offset
    with path.open("r+b") as file:
        file.seek(offset + 200)
        file.write(b"\xff\x00\xff")
    spec = resolved(path, cache)
    reasons = bad_pictures(spec, cache)
    assert set(reasons) == {"cat/link.jpg", "dog/003.jpg"}
    assert "CRC-32" in reasons["dog/003.jpg"] and "is a link" in reasons["cat/link.jpg"]
    dropped = {name for split in WHOLE for name in open_split(spec, split, cache_dir=cache).dropped}
    assert dropped == set(reasons)


def test_threads_and_processes_read_at_once(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 40, "dog": 40}))
    pictures = open_split(resolved(path, cache), "train", cache_dir=cache)
    alone = [np.asarray(pictures.load(index)) for index in range(len(pictures))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda index: np.asarray(pictures.load(index)), list(range(len(pictures))) * 3))
    assert all((one == other).all() for one, other in zip(alone * 3, together, strict=True))
    assert (np.asarray(pickle.loads(pickle.dumps(pictures)).load(5)) == alone[5]).all()
    with PictureBatches(pictures, INPUT, batch_size=8, loader_workers=2, start_method="fork") as batches:
        assert sum(len(images) for images, _ in batches.evaluation()) == len(pictures)


def test_the_fingerprint_covers_every_byte_and_not_the_place(tmp_path, cache):
    content = class_files({"cat": 4, "dog": 4}) | {"cat/big.bmp": random.Random(0).randbytes(300_000)}
    path = zip_file(tmp_path / "x.zip", content, method=zipfile.ZIP_STORED)
    before = resolved(path, cache).fingerprint
    moved = tmp_path / "elsewhere" / "x.zip"
    moved.parent.mkdir()
    shutil.copy(path, moved)
    assert resolved(moved, cache).fingerprint == before
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    assert resolved(path, cache).fingerprint != before


def test_an_archive_that_changes_after_planning_is_refused(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 4, "dog": 4}))
    spec = resolved(path, cache)
    zip_file(path, class_files({"cat": 4, "dog": 4}, seed=1))
    with pytest.raises(DataError, match="changed since the job was planned"):
        open_split(spec, "train", cache_dir=cache)


def test_an_archive_is_listed_once(tmp_path, cache, monkeypatch):
    path = zip_file(tmp_path / "x.zip", class_files({"cat": 4, "dog": 4}))
    age(tmp_path)
    first = resolved(path, cache)
    monkeypatch.setattr(zip_members.zipfile, "ZipFile", None)
    assert resolved(path, cache) == first
    for name in (cache / "datasets").glob("members-*/offset.npy"):
        name.write_bytes(b"")
    monkeypatch.undo()
    assert resolved(path, cache) == first and not bad_pictures(first, cache)


def test_an_archive_is_not_read_again_because_of_its_neighbour(tmp_path, cache, monkeypatch):
    paths = [zip_file(tmp_path / name, class_files({"cat": 40, "dog": 40}, seed=5)) for name in ("a.zip", "b.zip")]
    age(tmp_path)
    first = [resolved(path, cache) for path in paths]
    monkeypatch.setattr("bob.data.fingerprint._digests", None)
    assert [resolved(path, cache) for path in paths] == first


def test_names_in_old_zips_are_utf8_where_they_can_be(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"chién": 3, "dog": 3}))
    content = bytearray(path.read_bytes())
    for place in _directory(content):
        content[place + 9] &= ~0x08  # the flag that says UTF-8
    path.write_bytes(content)
    spec = resolved(path, cache)
    assert spec.classes == ("chién", "dog") and not bad_pictures(spec, cache)


def test_wordnet_classes_alone_are_test_and_the_prefix_divides_them(tmp_path, cache):
    path = zip_file(tmp_path / "x.zip", class_files({"n01440764": 4, "n07753592": 4}))
    assert dict(resolved(path, cache).sizes) == {"test": 8}
    assert set(dict(resolved(path, cache, "zip:").sizes)) == {"train", "val", "test"}


def test_an_archive_that_a_link_leads_to_elsewhere_is_refused(tmp_path, cache):
    outside = zip_file(tmp_path / "outside" / "x.zip", class_files({"cat": 2, "dog": 2}))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.zip").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        resolved(tmp_path / "set", cache)


def test_zip_and_tar_together_are_refused(tmp_path, cache):
    zip_file(tmp_path / "set" / "train.zip", class_files({"cat": 2, "dog": 2}))
    tar_file(tmp_path / "set" / "test.tar", class_files({"cat": 2, "dog": 2}))
    with pytest.raises(DataError, match=r"holds 'test.tar': archives .zip alone are expected"):
        resolved(tmp_path / "set", cache)


def test_a_zip_damaged_anywhere_is_refused_or_its_pictures_are_judged(tmp_path):
    good = zip_file(tmp_path / "x.zip", class_files({"cat": 2, "dog": 2})).read_bytes()
    tail = good.index(b"PK\x01\x02")
    draw = random.Random(0)
    for turn in range(500):
        content = bytearray(good)
        if turn % 5 == 0:
            content = content[: draw.randrange(len(content))]
        for _ in range(draw.randrange(1, 4) if turn % 5 else 0):
            content[draw.randrange(tail if turn % 2 else 0, len(content)) % len(content)] = draw.randrange(256)
        path = tmp_path / "damaged" / "y.zip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        try:
            zip_members.find_zip_members(path, 0, MemberList())
            if turn % 4 == 0:
                continue
            spec = resolve_dataset(str(path), cache_dir=tmp_path / f"cache{turn}")
            bad = bad_pictures(spec, tmp_path / f"cache{turn}")
        except BobError:
            continue
        assert len(bad) <= sum(count for _, count in spec.sizes) <= 4
