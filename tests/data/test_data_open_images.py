"""Open Images: boxes as shares in CSV files, a part of the pictures, groups, damaged files."""

from __future__ import annotations

import random

import numpy as np
import pytest
from data_helpers import class_folders, first_seed, picture

from bob.core.errors import BobError, DataError, DataMissingError
from bob.data.dense_pictures import open_dense
from bob.data.open_images_parse import BoxFile, parse_open_images
from bob.data.resolve import resolve_dataset

TITLES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
NAMES = "/m/01,Cat\n/m/02,Dog\n/m/03,Tree\n"
CAT = "{},xclick,/m/01,1,0.1,0.5,0.2,0.6,0,0,{},0,0"
DOG = "{},xclick,/m/02,1,0.5,0.75,0.1,1,0,1,0,0,0"
SPLITS = {"train": 8, "validation": 3, "test": 4}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def number(split, index):
    return f"{len(split):04x}{index:012x}"


def rows(split, count):
    """Return a cat and a dog in each picture, and a group of cats in the first."""
    found = [line for index in range(count) for line in (CAT, DOG) for line in [line.format(number(split, index), 0)]]
    return [*found, CAT.format(number(split, 0), 1)]


def write(root, *, pictures="{}", tables="", name="{}-annotations-bbox.csv", titles=TITLES, change=lambda lines: lines):
    """Write a set of 40 x 30 pictures; ``change`` is asked for the rows of each file."""
    (root / tables).mkdir(parents=True, exist_ok=True)
    for split, count in SPLITS.items():
        folder = root / pictures.format(split)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(first_seed(*folder.parts[-2:]) + index).save(folder / f"{number(split, index)}.jpg")
        lines = [titles, *change(rows(split, count))]
        (root / tables / name.format(split)).write_text("\n".join(lines) + "\n")
    (root / tables / "class-descriptions-boxable.csv").write_text(NAMES)
    return root


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def opened(root, cache, split="test"):
    return open_dense(resolved(root, cache), split, annotation="boxes", cache_dir=cache)


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"pictures": "{}/data", "tables": "annotations", "name": "oidv6-{}-annotations-bbox.csv"},
        {"pictures": "images/{}", "tables": "csv_folder"},
        {"pictures": "{}_0"},
    ],
)
def test_shares_become_pixels_of_the_pictures_own_size_and_groups_are_crowds(root, cache, places):
    spec = resolved(write(root, **places), cache)
    assert (spec.kind, spec.classes, spec.annotations) == ("open_images", ("Cat", "Dog"), ("boxes",))
    assert dict(spec.sizes) == {"train": 8, "val": 3, "test": 4}
    test = opened(root, cache)
    assert test.faults == {} and test.sizes.tolist() == [[30, 40]] * 4 and len(test.instances(1).labels) == 2
    found = test.instances(0)
    assert np.allclose(found.boxes, [[4, 6, 20, 18], [20, 3, 30, 30], [4, 6, 20, 18]])
    assert found.crowd.tolist() == [False, False, True] and found.labels.tolist() == [0, 1, 0]
    assert np.allclose(found.area, [192, 270, 192])
    assert resolved(root, cache, "open_images:").fingerprint == spec.fingerprint


def test_a_part_of_the_pictures_is_read_and_the_rest_told_by_number_without_counting_as_bad(root, cache, caplog):
    write(root)
    for index in range(1, 4):
        (root / "test" / f"{number('test', index)}.jpg").unlink()
    picture(9).save(root / "test" / "ffffffffffffffff.jpg")
    spec = resolve_dataset(str(root), cache_dir=cache, policy="error")
    test = open_dense(spec, "test", annotation="boxes", cache_dir=cache)
    assert len(test) == 1 and test.faults == {} and test.dropped == () and test.repaired == {}
    assert "test-annotations-bbox.csv, 6 rows of 3 pictures: rows of pictures that are not there" in caplog.text
    assert "test-annotations-bbox.csv, 1 pictures: pictures without a row, left out" in caplog.text


def test_a_split_without_pictures_is_left_out_and_pictures_of_other_ids_are_an_error(root, cache, caplog):
    write(root)
    for path in (root / "test").iterdir():
        path.unlink()
    assert dict(resolved(root, cache).sizes) == {"train": 7, "val": 1, "test": 3}
    assert "there is no picture of test-annotations-bbox.csv" in caplog.text
    picture(0).save(root / "test" / "a.jpg")
    with pytest.raises(DataError, match="none of its rows is of one of the 1 pictures"):
        resolved(root, cache)


def test_one_picture_in_folders_of_two_classes_is_one_and_such_folders_stay_classes_unasked(root, cache):
    write(root, pictures="{}/Cat")
    (root / "train" / "Dog").mkdir()
    content = (root / "train" / "Cat" / f"{number('train', 0)}.jpg").read_bytes()
    (root / "train" / "Dog" / f"{number('train', 0)}.jpg").write_bytes(content)
    assert dict(resolved(root, cache, "open_images:").sizes) == {"train": 8, "val": 3, "test": 4}
    assert resolved(root, cache, "folder:").kind == "imagefolder"
    (root / "train" / "Dog" / f"{number('train', 0)}.jpg").write_bytes(content + b"0")
    with pytest.raises(DataError, match="have the same ImageID and another content"):
        resolved(root, cache, "open_images:")


def test_folders_of_classes_with_other_tables_are_no_open_images(root, cache):
    for split in ("train", "test"):
        class_folders(root / split, {"cat": 4, "dog": 4})
    (root / "train-annotations-bbox.csv").write_text(TITLES)
    assert resolved(root, cache).kind == "imagefolder"


@pytest.mark.parametrize("titles", ["", "LabelName,DisplayName\n", "\ufeff"])
def test_class_names_come_with_or_without_titles_and_equal_ones_are_told_apart(root, cache, titles):
    write(root)
    (root / "class-descriptions-boxable.csv").unlink()
    (root / "class-descriptions.csv").write_text(titles + '/m/01,"Cat, wild"\n/m/02,"Cat, wild"\n')
    assert resolved(root, cache).classes == ("Cat, wild (/m/01)", "Cat, wild (/m/02)")


FAULTS = {
    "name": ("xclick,/m/99,1,0.1,0.5,0.2,0.6,0,0,0,0,0", "a LabelName without a class name"),
    "text": ("xclick,/m/01,1,left,0.5,0.2,0.6,0,0,0,0,0", "a box that is no four numbers"),
    "nan": ("xclick,/m/01,1,nan,0.5,0.2,0.6,0,0,0,0,0", "a box that is no four numbers"),
    "infinite": ("xclick,/m/01,1,0.1,inf,0.2,0.6,0,0,0,0,0", "a box that is not finite"),
    "exchanged": ("xclick,/m/01,1,0.5,0.1,0.2,0.6,0,0,0,0,0", "a box with no area"),
    "outside": ("xclick,/m/01,1,1.5,2.5,0.2,0.6,0,0,0,0,0", "a box outside its picture"),
    "group": ("xclick,/m/01,1,0.1,0.5,0.2,0.6,0,0,maybe,0,0", "an IsGroupOf that is no flag"),
    "short": ("xclick,/m/01,1,0.1", "a row without 13 columns"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_row_that_cannot_be_right_is_left_out_named_and_counted(root, cache, caplog, case):
    text, reason = FAULTS[case]
    write(root, change=lambda lines: [*lines * 3, f"{lines[0].partition(',')[0]},{text}"])
    test = opened(root, cache)
    assert test.faults == {reason: 1} and f"test-annotations-bbox.csv, line 29: {reason}" in caplog.text


def test_a_group_flag_that_nobody_set_is_none(root, cache):
    write(root, change=lambda lines: [line.replace(",1,0,0", ",-1,0,0") for line in lines])
    assert not opened(root, cache).instances(0).crowd.any()


def pixels(lines):
    return [line.replace("0.1,0.5,0.2,0.6", "4,20,6,18").replace("0.5,0.75,0.1,1", "20,30,3,30") for line in lines]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"change": pixels}, "boxes leave their pictures"),
        ({"titles": TITLES.replace("XMax", "Width")}, "lacks the columns XMax"),
        ({"titles": TITLES.replace("IsInside", "Source")}, "has a column twice"),
        ({"titles": ""}, "lacks the columns ImageID, LabelName"),
        ({"change": lambda lines: [*lines, '"cut']}, "is damaged after line"),
        ({"change": lambda lines: [*lines, "x" * 200_000]}, "is damaged after line"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_an_error(root, cache, options, words):
    with pytest.raises(DataError, match=words):
        resolved(write(root, **options), cache)


def test_missing_and_doubled_files_are_named(root, cache):
    write(root)
    (root / "test-annotations-bbox.csv").write_bytes(b"ImageID,\xff\n")
    with pytest.raises(DataError, match=r"test-annotations-bbox\.csv is damaged after line"):
        resolved(root, cache)
    (root / "oidv6-train-annotations-bbox.csv").write_text(TITLES)
    with pytest.raises(DataError, match="holds both"):
        resolved(root, cache)
    (root / "oidv6-train-annotations-bbox.csv").unlink()
    (root / "class-descriptions-boxable.csv").write_text("/m/01,Cat\n/m/01,Dog\n")
    with pytest.raises(DataError, match=r"line 2: '/m/01,Dog' is no id with a name of its own"):
        resolved(root, cache)
    (root / "class-descriptions-boxable.csv").unlink()
    with pytest.raises(DataError, match="holds no class names"):
        resolved(root, cache)
    with pytest.raises(DataMissingError, match="'open_images' is not on this machine"):
        resolve_dataset("open_images", cache_dir=cache)


VALUES = ("", "nan", "inf", "-1", "1e308", "1" * 400, "None", '"', "[1]", "\u0663", "0.5", "-inf", "\0", "a,b")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a CSV file with something changed as damage or carelessness would."""
    lines, way = content.decode().splitlines(), rng.randrange(5)
    if way == 0:
        broken = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        return bytes(broken)
    if way == 1:
        return content[: rng.randrange(len(content))]
    place = rng.randrange(len(lines))
    if way == 2:
        lines.insert(place, lines[place])
    else:
        cells = lines[place].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(VALUES)
        lines[place] = ",".join(cells if way == 3 else cells[1:])
    return "\n".join(lines).encode()


def test_500_changed_files_give_valid_boxes_or_a_plain_error(root):
    rng = random.Random(0)
    write(root)
    path, names = root / "train-annotations-bbox.csv", root / "class-descriptions-boxable.csv"
    good, refused = {one: one.read_bytes() for one in (path, names)}, 0
    file = BoxFile(path, {number("train", index): f"train/{number('train', index)}.jpg" for index in range(8)})
    for turn in range(500):
        changed = names if turn % 10 == 0 else path
        changed.write_bytes(mutated(good[changed], rng))
        try:
            parsed = parse_open_images(root, names, {"train": file})
        except BobError:
            refused += 1
        else:
            table = parsed.splits["train"]
            boxes = np.array(table._boxes, dtype=float).reshape(-1, 4)
            assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= -1).all()
            assert (boxes[:, 2] <= 41).all() and (boxes[:, 3] <= 31).all()
            assert all(0 <= label < len(parsed.classes) for label in table._labels)
        changed.write_bytes(good[changed])
    assert 50 < refused < 400
